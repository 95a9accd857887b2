"""Ground for rule-based state machines: one event loop and one house for a test, fresh tenants for an example.

What enters: the migrated databases and a machine's class. What leaves: nothing, or the shortest program found that
makes the services and the model differ, with the seed that plays it again (`GARANT_SEED`).
"""

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any, TypeVar

import asyncpg
import pytest
import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from support.house import House, build_house
from support.servers import Databases

T = TypeVar("T")

GIVEN_SEED = os.environ.get("GARANT_SEED")
DEEP_TIMEOUT_S = 1_800
CLEAN_EVERY = 40
"""After so many examples the tables are emptied: digests read them whole."""
STEP_TIMEOUT_S = 30

Digest = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Size:
    """How long a test looks: examples, and the most steps of each."""

    examples: int
    steps: int
    deep: bool = False


def sizes(small: Size, deep: Size) -> pytest.MarkDecorator:
    """Give a test its `size`: small and always the same in `make test`, large and new in `make test-deep`."""
    long = pytest.param(
        replace(deep, deep=True), id="deep", marks=[pytest.mark.deep, pytest.mark.timeout(DEEP_TIMEOUT_S)]
    )
    replay = [pytest.mark.timeout(DEEP_TIMEOUT_S)] if GIVEN_SEED else []
    return pytest.mark.parametrize("size", [pytest.param(small, id="small", marks=replay), long])


@dataclass(slots=True)
class Ground:
    """What all examples of a test share; `serial` tells the examples apart."""

    runner: asyncio.Runner
    house: House
    looks: dict[str, "asyncpg.Connection[asyncpg.Record]"]
    serial: int = 0
    spoiled: bool = False
    """An example ended in the middle: what it left behind must not meet the next one."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a step on the test's loop."""
        return self.runner.run(_limited(work))

    async def next_example(self) -> int:
        """Return the example's number."""
        self.serial += 1
        if self.spoiled or self.serial % CLEAN_EVERY == 0:
            await self.house.databases.clean()
        self.spoiled = False
        return self.serial

    async def digest(self, service: str, tables: Mapping[str, str]) -> Digest:
        """Return a digest of each table's rows that meet the condition, with the transactions that wrote them."""
        query = " UNION ALL ".join(
            f"SELECT '{table}', md5(string_agg(t.xmin::text || t::text, '|' ORDER BY t::text))"
            f" FROM {table} t WHERE {condition}"
            for table, condition in tables.items()
        )
        rows = await self.looks[service].fetch(query)
        return {f"{service}.{name}": str(digest) for name, digest in rows}


async def _limited(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(STEP_TIMEOUT_S):
        return await work


@contextmanager
def ground(databases: Databases) -> Iterator[Ground]:
    """Put a house on a loop of its own; both end with the block."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(_settle_in(databases, stack, runner))
        finally:
            runner.run(stack.aclose())


async def _settle_in(databases: Databases, stack: AsyncExitStack, runner: asyncio.Runner) -> Ground:
    house = await stack.enter_async_context(build_house(databases))
    looks = {}
    for service in ("accounts", "deals"):
        looks[service] = await asyncpg.connect(databases.owner_url(service), timeout=5)
        stack.push_async_callback(looks[service].close)
    return Ground(runner, house, looks)


@dataclass(frozen=True, slots=True)
class Step:
    """A method that a machine may take as its next step, and how often it is chosen beside the others."""

    name: str
    weight: int
    arguments: Mapping[str, st.SearchStrategy[Any]]
    when: Callable[[Any], bool]

    def __repr__(self) -> str:
        return self.name


_steps: dict[Callable[..., None], Step] = {}


def step(
    weight: int = 1, when: Callable[[Any], object] | None = None, **arguments: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a method as a step with drawn arguments, possible only `when` the machine is so.

    Hypothesis' own choice among rules switches most of them off in most examples, which takes hundreds of
    examples to even out; a small run wants every step in each.
    """

    def mark(method: Callable[..., None]) -> Callable[..., None]:
        _steps[method] = Step(method.__name__, weight, arguments, lambda it: when is None or bool(when(it)))
        return method

    return mark


class Machine(RuleBasedStateMachine):
    """A machine on the ground; a subclass has steps, sets up in `begin`, compares in `agree`, ends in `finish`.

    `agree` is to be an invariant. `finish` is left out when a step failed: it would hide the failure.
    """

    ground: Ground

    @rule(data=st.data())
    def take_a_step(self, data: st.DataObject) -> None:
        """Take one of the steps that are possible now."""
        found = [_steps[m] for kind in type(self).__mro__ for m in vars(kind).values() if _is_step(m)]
        possible = [one for one in found if one.when(self) for _ in range(one.weight)]
        chosen = data.draw(st.sampled_from(possible), label="step")
        arguments = data.draw(st.fixed_dictionaries(dict(chosen.arguments)), label="arguments")
        getattr(self, chosen.name)(**arguments)

    def __init__(self) -> None:
        super().__init__()
        self.sound = True
        self.number = self.run(self.ground.next_example())
        self.run(self.begin())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a step; until `agreed` is called the example is held to be broken."""
        self.sound = False
        return self.ground.run(work)

    def agreed(self) -> None:
        """Say that the services and the model agree after this step."""
        self.sound = True

    async def begin(self) -> None:
        """Set the example up."""
        raise NotImplementedError

    async def finish(self) -> None:
        """Look at the whole once more."""
        raise NotImplementedError

    def teardown(self) -> None:
        """End the example."""
        if not self.sound:
            self.ground.spoiled = True
            return
        self.ground.spoiled = True
        self.ground.run(self.finish())
        self.ground.spoiled = False


def _is_step(member: object) -> bool:
    return isinstance(member, FunctionType) and member in _steps


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep thousands of log lines out of a failure's report, whose program says what was done."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def play(kind: type[Machine], databases: Databases, size: Size) -> None:
    """Run a machine's examples; a failure is shown with its seed. Only a long run looks for a shorter program."""
    shrink = size.deep or GIVEN_SEED is not None
    chosen = int(GIVEN_SEED) if GIVEN_SEED else (secrets.randbelow(2**32) if size.deep else 0)
    profile = settings(
        max_examples=size.examples,
        stateful_step_count=size.steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with ground(databases) as shared, _quiet():
        bound = seed(chosen)(type(kind.__name__, (kind,), {"ground": shared}))
        try:
            run_state_machine_as_test(bound, settings=profile)
        except BaseException:
            print(f"GARANT_SEED={chosen} plays the same examples again")
            raise
