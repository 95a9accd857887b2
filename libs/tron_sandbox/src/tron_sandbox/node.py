"""The node: a chain with its clock, its faucet, its counters and its armed faults."""

import asyncio
import collections
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tron_sandbox.chain import Chain
from tron_sandbox.faucet import Faucet

SLICE_S, TURNS = 0.003, 8
"""How long a block is made without a look at the calls, and how often the event loop goes round before it goes on.

A large answer leaves in several rounds: with one round between two slices, each part of it would wait for a slice.
"""


@dataclass(slots=True)
class Fault:
    """A fault that strikes the next `count` calls of an endpoint (`*`: of all)."""

    endpoint: str
    kind: str
    count: int
    seconds: float


class Node:
    """A chain with its clock, its faucet, its counters and its armed faults."""

    def __init__(self, chain: Chain, block_interval_s: float) -> None:
        self.chain = chain
        self.interval_s = block_interval_s
        self.faucet = Faucet(chain)
        self.requests: collections.Counter[str] = collections.Counter()
        self.faults: list[Fault] = []
        self.mined = asyncio.Condition()
        self.changing = asyncio.Lock()
        """Held by whoever changes the chain otherwise than by a broadcast."""

    async def run(self) -> None:
        """Make a block each interval, until cancelled; an interval of 0 makes none."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self.interval_s > 0:
            due = max(due + self.interval_s, loop.time())
            await asyncio.sleep(due - loop.time())
            await self.mine(1)

    async def mine(self, count: int) -> None:
        """Make blocks and tell those who wait for one; calls are answered meanwhile."""
        async with self.changing:
            steps = self.chain.mining(count)
            try:
                await _take(steps)
            finally:  # whoever is cancelled meanwhile leaves no half block
                for _ in steps:
                    pass
        async with self.mined:
            self.mined.notify_all()
        if self.chain.head.txs:
            # What is on the chain stays: to look through it for garbage again and again would make calls wait.
            gc.collect(1)
            gc.freeze()

    def take_fault(self, endpoint: str) -> Fault | None:
        """Return the fault that strikes this call, and count it."""
        for armed in self.faults:
            if armed.endpoint in ("*", endpoint, endpoint.rpartition("/")[2]):
                armed.count -= 1
                if armed.count <= 0:
                    self.faults.remove(armed)
                return armed
        return None


async def _take(steps: Iterator[None]) -> None:
    until = time.perf_counter() + SLICE_S
    for _step in steps:
        if time.perf_counter() >= until:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            until = time.perf_counter() + SLICE_S
