"""Measures one row on one server: load generators of their own, and the processor time that each server took."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import psutil

from bench.chatting import books
from bench.chatting.loads import Job
from bench.chatting.servers import database_url
from bench.measure import come_to_rest
from bench.servers import Servers
from garant_local.settings import ROOT

LINE_TIMEOUT_S = 180.0
GENERATOR = "generator"
MEMORY_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one row on one server."""

    row: str
    server: str
    per_second: float
    p50_ms: float
    p99_ms: float
    shares: dict[str, float]
    """The processor time that each process took, as a part of one core's."""
    more: dict[str, float] = field(default_factory=dict)

    def cpu_us(self, name: str) -> float:
        """Return a process' processor time for each operation."""
        return 1e6 * self.shares[name] / self.per_second


class Generator:
    """A load in a process of its own."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.chatting.generator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self._input = self._process.stdin
        assert self._input is not None
        self._input.write(orjson.dumps(asdict(job)) + b"\n")
        self._input.flush()
        self._limit = threading.Timer(LINE_TIMEOUT_S, self._process.kill)
        self._limit.start()

    def line(self) -> Any:
        """Return what it says next.

        Raises:
            RuntimeError: when it ended instead.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load {self._job.load} on ports {self._job.ports} failed")
        return orjson.loads(line)

    def end(self) -> dict[str, Any]:
        """Let a load without an end of its own end; return the figures.

        Raises:
            RuntimeError: when a message was lost, doubled or out of order, or a connection failed.
        """
        assert self._input is not None
        self._input.close()
        if not self._job.seconds:
            self.line()
        found: dict[str, Any] = self.line()
        if found["faults"]:
            raise RuntimeError(f"{self._job.load} on ports {self._job.ports}: {found['faults']}")
        return found

    def close(self) -> None:
        """End the process, whatever it does."""
        self._limit.cancel()
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@contextlib.contextmanager
def generating(job: Job) -> Iterator[Generator]:
    """Put a load on the servers; yield once it is there."""
    generator = Generator(job)
    try:
        word = generator.line()
        assert word == "begun", word
        yield generator
    finally:
        generator.close()


class Meter:
    """Measures rows one after the other on the same servers."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._runs = 0

    def prepare(self, server: str, chats: int, history: int) -> Job:
        """Write new chats for a server; return a job without a load in them."""
        self._runs += 1
        run = f"run {self._runs}"
        asyncio.run(come_to_rest(self._servers, "CHAT"))
        asyncio.run(books.rewrite(database_url(self._servers, server), run, chats, history))
        return Job("", [self._servers.ports[server]], run, 0, chats, history, 1)

    def measure(self, row: str, server: str, unit: str, jobs: Sequence[Job]) -> Sample:
        """Put timed loads on a server, one generator each, and check what it stored."""
        with contextlib.ExitStack() as stack:
            generators = [stack.enter_context(contextlib.closing(Generator(job))) for job in jobs]
            for generator in generators:
                generator.line()
            before, began = self._servers.cpu_s(), time.perf_counter()
            for generator in generators:
                generator.line()
            took = time.perf_counter() - began
            shares = {name: (spent - before[name]) / took for name, spent in self._servers.cpu_s().items()}
            found = [generator.end() for generator in generators]
        done = [one["done"][unit] for one in found]
        shares[GENERATOR] = sum(one["cpu_s"] / one["seconds"] for one in found)
        said = sum(one["said"] for one in found)
        if said:
            asyncio.run(books.check(database_url(self._servers, server), jobs[0].history, said))
        return Sample(
            row,
            server,
            sum(one["count"] / figures["seconds"] for one, figures in zip(done, found, strict=True)),
            max(one["p50_ms"] for one in done),
            max(one["p99_ms"] for one in done),
            shares,
            {"all": sum(one["all"][unit] for one in found)},
        )

    @contextlib.contextmanager
    def most_memory(self, server: str) -> Iterator[list[float]]:
        """Watch how much memory a server takes; what comes is the growth in MiB, at the end of the block."""
        process, grown = self._servers.processes[server], list[float]()
        before, most, ended = rss_mib(process), 0.0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not ended.wait(MEMORY_INTERVAL_S):
                most = max(most, rss_mib(process))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield grown
        finally:
            ended.set()
            watching.join()
            grown.append(max(0.0, most - before))


def rss_mib(process: psutil.Process) -> float:
    """Return the memory that a process has."""
    found: int = process.memory_info().rss
    return found / 2**20
