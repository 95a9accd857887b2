"""The load generator, a process of its own.

A job enters as the first line of standard input. Three lines leave: `begun` when the load is there and the clock
runs, `ended` when the clock stops, and the figures. A load with `seconds` ends by itself, others at the end
of the input.

python -m bench.chatting.generator < job.json
"""

import asyncio
import gc
import sys
import time
from typing import Any

import orjson
import uvloop

from bench.chatting.loads import LOADS, Clock, Job
from bench.chatting.participant import Tally

WARM_UP_S = 1.0
"""Statements are prepared, and Node compiles, before the clock runs."""
LIMIT_S = 120.0
"""A load that waits longer than this for its end was forgotten."""


async def run(job: Job) -> dict[str, Any]:
    """Do the job; return counts, percentiles in ms and the processor time that this process took."""
    tally, clock = Tally(), Clock()
    ready = asyncio.Event()
    gc.freeze()
    async with asyncio.timeout(LIMIT_S + job.seconds):
        load = asyncio.create_task(LOADS[job.load](job, tally, clock, ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({load, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if job.seconds:
            await asyncio.sleep(WARM_UP_S)
        _say("begun")
        tally.recording, began, cpu_s = True, time.perf_counter(), time.process_time()
        if job.seconds:
            await asyncio.sleep(job.seconds)
        else:
            await asyncio.to_thread(sys.stdin.buffer.read)
        tally.recording, took = False, time.perf_counter() - began
        spent_s = time.process_time() - cpu_s
        _say("ended")
        clock.end()
        await load
    return {
        "seconds": took,
        "cpu_s": spent_s,
        "said": tally.said,
        "faults": +tally.faults,
        "all": tally.all,
        "done": {name: _times(times) for name, times in tally.times_s.items()},
    }


def _times(times_s: list[float]) -> dict[str, float]:
    ordered = sorted(times_s)
    return {
        "count": len(ordered),
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[len(ordered) * 99 // 100],
    }


def _say(word: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(word) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _say(uvloop.run(run(Job(**orjson.loads(sys.stdin.buffer.readline())))))
