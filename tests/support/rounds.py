"""Seeded rounds of a race: each round starts its racers in another order and with other pauses.

What enters: a race as a function, and how many rounds. What leaves: nothing, or the failure with the seed that
replays its choices (`GARANT_SEED`). The pauses come at the places that call `pause`: see `support.racing`.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import pytest

T = TypeVar("T")

SEED = int(os.environ.get("GARANT_SEED") or secrets.randbelow(2**32))
DEEP_ROUNDS = int(os.environ.get("GARANT_ROUNDS") or 200)
ENOUGH_ROUNDS = 200
"""After so many rounds each side of a race has won once."""
DEEP_TIMEOUT_S = 3_600
ROUND_TIMEOUT_S = 120
LONGEST_PAUSE_S = 0.004
LATEST_START_S = 0.012

_source: ContextVar[Random | None] = ContextVar("source_of_pauses", default=None)


def sizes(small: int, deep: int = DEEP_ROUNDS) -> pytest.MarkDecorator:
    """Give a test its number of `rounds`: few in `make test`, hundreds (or `GARANT_ROUNDS`) in `make test-deep`."""
    long = pytest.param(deep, marks=[pytest.mark.deep, pytest.mark.timeout(DEEP_TIMEOUT_S)])
    return pytest.mark.parametrize("rounds", [small, long])


async def pause() -> None:
    """Let the others go first, or not, as the racer's own seed says; nothing outside a race."""
    source = _source.get()
    if source is None:
        return
    draw = source.random()
    if draw > 0.7:
        await asyncio.sleep(source.random() * LONGEST_PAUSE_S)
    elif draw > 0.4:
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Round:
    """One playing of a race, with choices of its own."""

    random: Random

    async def race(self, *racers: Callable[[], Awaitable[T]]) -> list[T]:
        """Start all racers at once in a seeded order; return what each returned, in the order given."""
        sources = [Random(self.random.getrandbits(64)) for _ in racers]
        order = self.random.sample(range(len(racers)), len(racers))
        async with asyncio.TaskGroup() as group:
            tasks = {i: group.create_task(_run(racers[i], sources[i])) for i in order}
        return [tasks[i].result() for i in range(len(racers))]


async def _run(racer: Callable[[], Awaitable[T]], source: Random) -> T:
    _source.set(source)
    await asyncio.sleep(source.choice((0, source.random() * LATEST_START_S)))
    return await racer()


def after(seconds: float, racer: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """Return a racer that begins this much later."""

    async def begin() -> T:
        await asyncio.sleep(seconds)
        return await racer()

    return begin


def assert_seen(expected: set[str], found: Iterable[str], rounds: int) -> None:
    """Check that nothing else came out and, over hundreds of rounds, each of these did: else it is no race."""
    seen = set(found)
    assert seen <= expected, seen
    assert seen == expected or rounds < ENOUGH_ROUNDS, f"never {expected - seen} in {rounds} rounds"


async def play(rounds: int, one: Callable[[Round], Awaitable[T]], at_once: int = 4) -> list[T]:
    """Play `one` in `rounds` rounds, `at_once` of them side by side in each; return all that they returned."""
    found: list[T] = []
    print(f"GARANT_SEED={SEED}")
    for number in range(rounds):
        lanes = [Round(Random(f"{SEED}:{number}:{lane}")) for lane in range(at_once)]
        try:
            async with asyncio.timeout(ROUND_TIMEOUT_S), asyncio.TaskGroup() as group:
                tasks = [group.create_task(_lane(one, lane)) for lane in lanes]
        except BaseException:
            print(f"round {number} of {rounds} failed; the same rounds are played again with GARANT_SEED={SEED}")
            raise
        found += [task.result() for task in tasks]
    return found


async def _lane(one: Callable[[Round], Awaitable[T]], lane: Round) -> T:
    return await one(lane)
