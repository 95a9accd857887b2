"""What is asked of a chat server: some loads last as long as the clock runs, others until they are told to stop.

What enters: a job. What leaves: connections, whose participants check all that they hear.
"""

import asyncio
import hashlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from bench.chatting.participant import Participant, Tally
from bench.chatting.wire import Connection, Refused, frame

LEAST_SAID, MOST_SAID = 5, 10
"""Messages of a cycle, as the mission names them."""
OPENED_AT_ONCE = 50
FORGED = "eyJhbGciOiJFZERTQSJ9.eyJhdWQiOiJnYXJhbnQtY2hhdCIsImV4cCI6OTk5OTk5OTk5OX0." + "A" * 86
"""A token whose signature is checked and wrong."""
MALFORMED = (b"42[", b"42{}", b'42["message",{"user_id":', b"4", b"49", b"42\xff", b"x")
MALFORMED_BURST = 20
IGNORED = b'42["x",1]'
IGNORED_BURST = 2_000
MOST_UNSENT = 1 << 20
ATTACK_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """One load: which, on which servers, in which chats, how long, by how many clients.

    `clients` are virtual users, rooms of two, joiners or attackers. Participants are spread over `ports` in turn.
    """

    load: str
    ports: list[int]
    run: str
    first_chat: int
    chats: int
    history: int
    clients: int
    seconds: float = 0.0
    per_second: float = 0.0
    """How many messages are sent, or attacks made, in all; 0 is as many as can be."""
    deflate: bool = False

    def chat_id(self, place: int) -> str:
        """Return the id of one of the chats; `bench.chatting.books` computes the same in SQL."""
        number = self.first_chat + place % self.chats
        return str(UUID(hashlib.md5(f"{self.run}:{number}".encode(), usedforsecurity=False).hexdigest()))

    def user_id(self, place: int, party: int) -> int:
        """Return the id of the customer (0) or the performer (1) of one of the chats."""
        return 2 * (self.first_chat + place % self.chats) + 1 + party

    def address(self, place: int) -> str:
        """Return an address of our own: users at home do not share one."""
        return f"127.0.{1 + place // 200}.{1 + place % 200}"


class Clock:
    """Says when a load ends."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Let the load end."""
        self._ended.set()

    @property
    def runs(self) -> bool:
        """Tell whether the load goes on."""
        return not self._ended.is_set()

    async def until_end(self) -> None:
        """Wait for the end."""
        await self._ended.wait()


Load = Callable[[Job, Tally, Clock, Callable[[], None]], Coroutine[Any, Any, None]]
"""Puts a load on the servers until the clock ends; calls the last argument once the load is there."""


def _participant(
    job: Job, tally: Tally, place: int, party: int, heard_own: Callable[[Participant], None] | None = None
) -> Participant:
    return Participant(
        job.ports[(place + party) % len(job.ports)],
        job.chat_id(place),
        job.user_id(place, party),
        tally,
        address=job.address(2 * place + party),
        heard_own=heard_own,
        deflate=job.deflate,
    )


async def cycles(job: Job, tally: Tally, clock: Clock, begun: Callable[[], None]) -> None:
    """Each user again and again: connect, hear the history, say 5 to 10 things, hear them, leave."""
    places = itertools.count()

    async def user(number: int) -> None:
        dice = random.Random(number)
        while clock.runs:
            began, place = time.perf_counter(), next(places)
            who = _participant(job, tally, place, dice.randrange(2))
            await who.open()
            await who.until_seq(job.history)
            who.say(dice.randint(LEAST_SAID, MOST_SAID))
            await who.until_settled()
            await who.close()
            tally.said += who.sent
            tally.count("cycle", began)

    begun()
    async with asyncio.TaskGroup() as users:
        for number in range(job.clients):
            users.create_task(user(number))


async def messages(job: Job, tally: Tally, clock: Clock, begun: Callable[[], None]) -> None:
    """Rooms of two: each says the next thing when the last one came back, or all of them at a steady rate."""

    def again(who: Participant) -> None:
        if clock.runs:
            who.say()

    heard = None if job.per_second else again
    pairs = [[_participant(job, tally, place, party, heard) for party in (0, 1)] for place in range(job.clients)]
    everybody = [who for pair in pairs for who in pair]
    await _open(job, everybody)
    begun()
    if job.per_second:
        await _say_steadily(job, clock, everybody)
    else:
        for who in everybody:
            who.say()
        await clock.until_end()
    await asyncio.gather(*(who.until_settled() for who in everybody))
    ends = [(who, job.history + sum(one.sent for one in pair)) for pair in pairs for who in pair]
    await asyncio.gather(*(who.until_seq(last) for who, last in ends))
    tally.said += sum(who.sent for who in everybody)
    await asyncio.gather(*(who.close() for who in everybody))


async def _say_steadily(job: Job, clock: Clock, everybody: list[Participant]) -> None:
    began = time.perf_counter()
    for number in itertools.count():
        await asyncio.sleep(max(0.0, began + number / job.per_second - time.perf_counter()))
        if not clock.runs:
            return
        everybody[number * 7 % len(everybody)].say()


async def joins(job: Job, tally: Tally, clock: Clock, begun: Callable[[], None]) -> None:
    """Each joiner again and again: connect, hear the whole history, leave."""
    begun()

    async def joiner(place: int) -> None:
        while clock.runs:
            began = time.perf_counter()
            who = _participant(job, tally, place, 0)
            await who.open()
            await who.until_seq(job.history)
            tally.count("join", began)
            await who.close()

    async with asyncio.TaskGroup() as joiners:
        for place in range(job.clients):
            joiners.create_task(joiner(place))


async def idle(job: Job, tally: Tally, clock: Clock, begun: Callable[[], None]) -> None:
    """Clients who are there and say nothing."""
    everybody = [_participant(job, tally, place, place % 2) for place in range(job.clients)]
    await _open(job, everybody)
    begun()
    await clock.until_end()
    tally.faults["idle connections lost"] += sum(who.closed.done() for who in everybody)
    for group in _groups(everybody):
        await asyncio.gather(*(who.close() for who in group))


async def _open(job: Job, everybody: list[Participant]) -> None:
    for group in _groups(everybody):
        await asyncio.gather(*(who.open() for who in group))
        await asyncio.gather(*(who.until_seq(job.history) for who in group))


def _groups(everybody: list[Participant]) -> "list[list[Participant]]":
    return [everybody[at : at + OPENED_AT_ONCE] for at in range(0, len(everybody), OPENED_AT_ONCE)]


async def bad_tokens(job: Job, tally: Tally, clock: Clock, begun: Callable[[], None]) -> None:
    """Attackers connect with tokens that open nothing."""

    async def attack(address: str) -> None:
        connection = Connection(job.ports[0], f'{{"token":"{FORGED}"}}'.encode(), address)
        try:
            await connection.open()
            tally.faults["a forged token was accepted"] += 1
        except (Refused, OSError, TimeoutError):
            pass
        finally:
            connection.abort()

    await _attack(job, tally, clock, begun, attack)


async def malformed(job: Job, tally: Tally, clock: Clock, begun: Callable[[], None]) -> None:
    """Attackers join a chat of their own, and send what no client sends until they are cut off."""

    async def attack(address: str) -> None:
        token = f'{{"token":"{job.chat_id(0)}"}}'.encode()
        connection = Connection(job.ports[0], token, address)
        try:
            await connection.open()
            connection.write(b"".join(frame(one) for one in MALFORMED) * MALFORMED_BURST)
            await asyncio.wait_for(asyncio.shield(connection.closed), ATTACK_TIMEOUT_S)
        except (Refused, OSError, TimeoutError):
            pass
        finally:
            connection.abort()

    await _attack(job, tally, clock, begun, attack)


async def ignored(job: Job, tally: Tally, clock: Clock, begun: Callable[[], None]) -> None:
    """Attackers who are let in send events that nobody takes, each over one connection, without a pause."""
    token = f'{{"token":"{job.chat_id(0)}"}}'.encode()
    connections = [Connection(job.ports[0], token, job.address(10_000)) for _ in range(job.clients)]
    burst, turns = frame(IGNORED) * IGNORED_BURST, itertools.cycle(connections)

    async def attack(_: str) -> None:
        connection = next(turns)
        if connection.unsent < MOST_UNSENT:
            connection.write(burst)

    try:
        for connection in connections:
            await connection.open()
        await _attack(job, tally, clock, begun, attack)
        tally.faults["an event that nobody takes ended a connection"] += sum(c.closed.done() for c in connections)
    finally:
        for connection in connections:
            connection.abort()


async def _attack(
    job: Job, tally: Tally, clock: Clock, begun: Callable[[], None], attack: Callable[[str], Awaitable[None]]
) -> None:
    began, numbers = time.perf_counter(), itertools.count()

    async def attacker() -> None:
        while clock.runs:
            due = began + next(numbers) / job.per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            at = time.perf_counter()
            await attack(job.address(10_000))
            tally.count("attack", at)

    begun()
    async with asyncio.TaskGroup() as attackers:
        for _ in range(job.clients):
            attackers.create_task(attacker())


ATTACKS: dict[str, Load] = {load.__name__: load for load in (bad_tokens, malformed, ignored)}
LOADS: dict[str, Load] = ATTACKS | {load.__name__: load for load in (cycles, messages, joins, idle)}
