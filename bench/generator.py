"""The load generator, a process of its own: a job enters on standard input, the figures leave on standard output.

python -m bench.generator < job.json
"""

import asyncio
import itertools
import sys
import time
from dataclasses import dataclass, field

import orjson
import uvloop

from bench.client import Caller
from bench.loads import LOADS, Job

WARM_UP_S = 0.5
"""Connections are opened and statements prepared before the clock runs."""


@dataclass(slots=True)
class Tally:
    """What was counted while the clock ran."""

    begins: float
    ends: float
    operations: int = 0
    all_operations: int = 0
    latencies_s: list[float] = field(default_factory=list)

    def count(self, sent: float, answered: float, operations: int) -> None:
        """Count a unit; its time only when it ended while the clock ran."""
        self.all_operations += operations
        if self.begins <= answered <= self.ends:
            self.operations += operations
            self.latencies_s.append(answered - sent)


async def _call_until(job: Job, numbers: "itertools.count[int]", tally: Tally) -> None:
    caller = await Caller.connect(job.port)
    unit = LOADS[job.load]
    sent = time.perf_counter()
    while sent < tally.ends:
        operations = await unit(job, caller, numbers)
        answered = time.perf_counter()
        tally.count(sent, answered, operations)
        sent = answered
    caller.close()


async def run(job: Job) -> dict[str, float]:
    """Do the job; return counts, percentiles in ms and the processor time that this process took."""
    begins = time.perf_counter() + WARM_UP_S
    tally, numbers = Tally(begins, begins + job.seconds), itertools.count()
    async with asyncio.timeout(job.seconds + 30), asyncio.TaskGroup() as callers:
        for _ in range(job.callers):
            callers.create_task(_call_until(job, numbers, tally))
    ordered = sorted(tally.latencies_s)
    if not ordered:
        raise RuntimeError(f"{job.load}: nothing was answered in {job.seconds} s")
    return {
        "per_second": tally.operations / job.seconds,
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1000,
        "all_operations": tally.all_operations,
        "cpu_s": time.process_time(),
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(run(Job(**orjson.loads(sys.stdin.buffer.read()))))))
