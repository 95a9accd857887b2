"""Measures one row: a load generator of its own, and the processor time that each server took meanwhile."""

import asyncio
import dataclasses
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import nats
import nats.js.errors
import orjson

from bench.books import USERS, Books
from bench.loads import Job
from bench.rows import Row
from bench.servers import CALLERS, Servers
from garant_local.settings import ROOT

QUIET_SHARE = 0.05
QUIET_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one row."""

    load: str
    past: int
    round: int
    """It lies between the yardsticks of this number and the next."""
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: dict[str, float]
    """Processor time per operation of the load generator (`generator`) and of each server."""
    generator_share: float
    """The generator's part of the machine's processor time."""
    events_left: int
    """Events that waited in the outbox of accounts when the load ended."""


class Meter:
    """Measures rows one after the other on the same servers."""

    def __init__(self, servers: Servers, books: Books, seconds: float) -> None:
        self._servers = servers
        self._books = books
        self._seconds = seconds
        self._runs = 0

    def measure(self, row: Row, past: int, number: int) -> Sample:
        """Put a load on the servers, then let them come to rest."""
        before, started = self._servers.cpu_s(), time.perf_counter()
        found = self._generate(self._job(row, past))
        took = time.perf_counter() - started
        cpu_s = {name: spent - before[name] for name, spent in self._servers.cpu_s().items()}
        cpu_s["generator"] = found["cpu_s"]
        return Sample(
            row.load,
            past,
            number,
            found["per_second"],
            found["p50_ms"],
            found["p99_ms"],
            {name: round(spent * 1000 / found["all_operations"], 4) for name, spent in cpu_s.items()},
            round(found["cpu_s"] / took / (os.cpu_count() or 1), 3),
            asyncio.run(self._rest()),
        )

    def _job(self, row: Row, past: int) -> Job:
        self._runs += 1
        return Job(
            load=row.load,
            port=self._servers.ports[row.door],
            credential=CALLERS[row.caller] if row.caller else self._servers.api_key,
            callers=row.callers,
            seconds=self._seconds,
            tenant_id=self._servers.tenant_id,
            first_user=self._books.first_user,
            users=USERS,
            customers=self._books.customers(past),
            hot_user=self._books.hot_user,
            run=self._runs,
        )

    def _generate(self, job: Job) -> dict[str, float]:
        done = subprocess.run(
            [sys.executable, "-m", "bench.generator"],
            input=orjson.dumps(dataclasses.asdict(job)),
            capture_output=True,
            cwd=ROOT,
            timeout=job.seconds + 60,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{job.load}: {done.stderr.decode()[-3000:]}")
        found: dict[str, float] = orjson.loads(done.stdout)
        return found

    async def _rest(self) -> int:
        """Drop the events that still wait, in the outbox and at the broker, and wait until nothing works."""
        waiting = await self._books.forget_events()
        await come_to_rest(self._servers, "ACCOUNTS")
        return waiting


async def come_to_rest(servers: Servers, stream: str) -> None:
    """Drop the events that wait at the broker, and wait until nothing works."""
    client = await nats.connect(servers.nats.url, connect_timeout=5)
    try:
        await client.jetstream().purge_stream(stream)
    finally:
        await client.close()
    deadline = time.monotonic() + QUIET_LIMIT_S
    while time.monotonic() < deadline:
        before = sum(servers.cpu_s().values())
        await asyncio.sleep(0.3)
        if sum(servers.cpu_s().values()) - before < QUIET_SHARE * 2 * 0.3:
            break
