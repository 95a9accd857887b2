"""The rows: what is put on which servers, in which order. Every row but memory is measured again in each round."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.chatting import books
from bench.chatting.loads import ATTACKS, Job
from bench.chatting.measure import Meter, Sample, generating, rss_mib
from bench.chatting.servers import BATCHED, NODE, OURS, OURS_TOO, Fresh, database_url
from bench.servers import Servers

USERS, ROOMS, HISTORY = 20, 20, 20
LONG_HISTORY = 10_000
CYCLES_PER_S = 1_500
"""More than any server does: each cycle has a chat of its own."""
STEADY_PER_S = 400.0
STEADY_TIMES = 3
"""Longer than the other rows: of few messages, one stall of the machine would be the 99th percentile."""
JOINERS = 2
ATTACKERS, ATTACKS_PER_S = 64, 2_000.0
SETTLED_S = 3.0
TOLD_S = 12.0
"""Within ten seconds an idle session of PostgreSQL has told what it read: what came before is not counted."""


COMPARED = ("cycles", "messages", "memory")
"""Rows in which the Node servers are measured too."""
ROWS = ("cycles", "messages", "two_processes", "shared_rooms", "attackers", "idle", "joins", "memory")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes."""

    rounds: int
    seconds: float
    idle: int
    memory_rounds: int


FULL = Plan(rounds=5, seconds=4, idle=5_000, memory_rounds=3)
QUICK = Plan(rounds=1, seconds=2, idle=1_000, memory_rounds=1)


class Rows:
    """All rows on the same servers."""

    def __init__(self, servers: Servers, fresh: Fresh, plan: Plan) -> None:
        self._servers = servers
        self._fresh = fresh
        self._plan = plan
        self._meter = Meter(servers)

    def cycles(self, server: str) -> Iterator[Sample]:
        """The mission's load."""
        job = self._meter.prepare(server, round(CYCLES_PER_S * (self._plan.seconds + 1)), HISTORY)
        job = replace(job, load="cycles", clients=USERS, seconds=self._plan.seconds)
        yield self._meter.measure("cycles", server, "cycle", [job])

    def messages(self, server: str) -> Iterator[Sample]:
        """Rooms of two."""
        yield self._meter.measure("messages", server, "message", [self._rooms(server)])

    def _rooms(self, server: str, chats: int = ROOMS) -> Job:
        job = self._meter.prepare(server, chats, HISTORY)
        return replace(job, load="messages", clients=ROOMS, seconds=self._plan.seconds)

    def two_processes(self) -> Iterator[Sample]:
        """Twice as many rooms on two processes, each room on one of them."""
        first = self._rooms(OURS, 2 * ROOMS)
        second = replace(first, ports=[self._servers.ports[OURS_TOO]], first_chat=ROOMS)
        yield self._meter.measure("messages, two processes", OURS, "message", [first, second])

    def shared_rooms(self) -> Iterator[Sample]:
        """As many rooms on two processes, the two of each room on different ones."""
        ports = [self._servers.ports[OURS], self._servers.ports[OURS_TOO]]
        first = replace(self._rooms(OURS, 2 * ROOMS), ports=ports)
        second = replace(first, first_chat=ROOMS)
        yield self._meter.measure("messages, rooms over two processes", OURS, "message", [first, second])

    def joins(self) -> Iterator[Sample]:
        """Joins of a chat with a long history, served by a new process."""
        url = database_url(self._servers, OURS)
        job = self._meter.prepare(OURS, JOINERS, LONG_HISTORY)
        time.sleep(TOLD_S)
        before = asyncio.run(books.reads(url))
        with self._fresh.started(OURS) as alias:
            port = self._servers.ports[alias]
            job = replace(job, ports=[port], load="joins", clients=JOINERS, seconds=self._plan.seconds)
            with self._meter.most_memory(alias) as grown:
                sample = self._meter.measure("joins", alias, "join", [job])
        # The process' sessions have told what they read as they ended.
        reads = (asyncio.run(books.reads(url)) - before) / sample.more["all"]
        shares = sample.shares | {OURS: sample.shares[alias]}
        yield replace(sample, server=OURS, shares=shares, more={"memory_mib": grown[0], "reads": reads})

    def idle(self) -> Iterator[Sample]:
        """A steady load, alone and beside clients who say nothing."""
        alone = "steady messages"
        job = self._meter.prepare(OURS, ROOMS + self._plan.idle, HISTORY)
        job = replace(job, load="messages", clients=ROOMS, per_second=STEADY_PER_S)
        job = replace(job, seconds=STEADY_TIMES * self._plan.seconds)
        yield self._meter.measure(alone, OURS, "message", [job])
        job = self._again(job)
        crowd = replace(job, load="idle", first_chat=ROOMS, clients=self._plan.idle, seconds=0)
        with generating(crowd) as idle:
            yield self._meter.measure(f"{alone} beside idle clients", OURS, "message", [job])
            idle.end()

    def _again(self, job: Job) -> Job:
        new = self._meter.prepare(OURS, job.chats, job.history)
        return replace(job, run=new.run)

    def attackers(self) -> Iterator[Sample]:
        """Rooms of two, alone and beside attackers of each kind."""
        for kind in ("", *ATTACKS):
            job = self._rooms(OURS, ROOMS + 1)
            if not kind:
                yield self._meter.measure("messages before an attack", OURS, "message", [job])
                continue
            attack = replace(
                job, load=kind, first_chat=ROOMS, clients=ATTACKERS, per_second=ATTACKS_PER_S, seconds=0
            )
            with generating(attack) as attackers:
                sample = self._meter.measure(f"messages beside {kind}", OURS, "message", [job])
                done = attackers.end()
            yield replace(sample, more={"attacks": done["done"]["attack"]["count"] / done["seconds"]})

    def memory(self, server: str) -> Iterator[Sample]:
        """A new process, and what it takes for a thousand clients who say nothing and offer deflate."""
        with self._fresh.started(server) as alias:
            job = replace(self._meter.prepare(server, 1_000, HISTORY), ports=[self._servers.ports[alias]])
            process = self._servers.processes[alias]
            with generating(replace(job, load="idle", clients=50, deflate=True)) as first:
                first.end()
            time.sleep(SETTLED_S)
            before = rss_mib(process)
            with generating(replace(job, load="idle", clients=1_000, deflate=True)) as idle:
                time.sleep(SETTLED_S)
                grown = rss_mib(process) - before
                idle.end()
        yield Sample("memory", server, 0.0, 0.0, 0.0, {}, {"memory_mib": grown, "before_mib": before})

    def round(self, number: int, wanted: Sequence[str]) -> Iterator[Sample]:
        """Measure each row once, the servers in another order each time."""
        peers = [OURS, NODE, BATCHED]
        for name in wanted:
            if name == "memory" and number >= self._plan.memory_rounds:
                continue
            row = getattr(self, name)
            if name in COMPARED:
                for server in peers[number % 3 :] + peers[: number % 3]:
                    yield from row(server)
            else:
                yield from row()
