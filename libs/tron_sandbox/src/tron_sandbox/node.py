"""The node: a chain with its clock, its faucet, its counters and its armed faults."""

import asyncio
import collections
from dataclasses import dataclass

from tron_sandbox.chain import Chain
from tron_sandbox.faucet import Faucet


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

    async def run(self) -> None:
        """Make a block each interval, until cancelled; an interval of 0 makes none."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self.interval_s > 0:
            due = max(due + self.interval_s, loop.time())
            await asyncio.sleep(due - loop.time())
            await self.mine(1)

    async def mine(self, count: int) -> None:
        """Make blocks and tell those who wait for one."""
        while count > 0:
            self.chain.mine(min(count, 500))
            count -= 500
            await asyncio.sleep(0)
        async with self.mined:
            self.mined.notify_all()

    def take_fault(self, endpoint: str) -> Fault | None:
        """Return the fault that strikes this call, and count it."""
        for armed in self.faults:
            if armed.endpoint in ("*", endpoint, endpoint.rpartition("/")[2]):
                armed.count -= 1
                if armed.count <= 0:
                    self.faults.remove(armed)
                return armed
        return None
