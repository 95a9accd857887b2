"""Several Tron nodes as one: who fails, lags or lies is left alone, and the next one is asked.

What enters: a method, its body, and how to read the answer. What leaves: what was read, or `NodeUnavailable`
that names each node's reason. What never happens here: an endless loop. In one call each node is asked a few times
at most, and only within seconds.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from common.logging import get_logger
from payments.adapters.node import Node, NodeAddress, NodeLimits
from payments.domain.errors import NodeBehind, NodeLied, NodeUnavailable
from payments.domain.model import Header

log = get_logger()

T = TypeVar("T")

ROUNDS = 3
"""How often one node is asked in one call, when it fails; a lie ends its turn at once."""
QUEUE_S = 10.0
"""How long a call may wait for its place in a node's budget."""
CALL_S = 30.0
"""No attempt begins later than this after the call began."""
MOST_BEHIND = 10
"""Blocks that a node's head may be behind the best one: half a minute."""
BEST_KEPT_S = 60.0
"""A head that nobody confirms for so long was a lie, or the others are as far by now."""
BROADCASTS = 2
"""A transaction goes to so many nodes at least, where there are so many."""


class NodePool:
    """The nodes of one network.

    Args:
        addresses: where the nodes are, the preferred one first.
        limits: what each may be asked for.
        now: a clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        addresses: Sequence[NodeAddress],
        limits: NodeLimits | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        assert addresses, "a pool has a node at least"
        self._limits = limits or NodeLimits()
        self._now = now
        names = [address.name for address in addresses]
        self.nodes = [
            Node(a, f"{n}#{i}" if names.count(n) > 1 else n, self._limits, now)
            for i, (a, n) in enumerate(zip(addresses, names, strict=True), 1)
        ]
        self._best: dict[str, tuple[int, float]] = {}

    async def close(self) -> None:
        """Close all connections."""
        for node in self.nodes:
            await node.close()

    @property
    def reached(self) -> int:
        """The highest solid block that any node has shown."""
        return max(node.reached for node in self.nodes)

    async def ask(self, method: str, body: dict[str, Any], read: Callable[[Any], T], height: int = 0) -> T:
        """Ask until a node's answer can be read.

        Args:
            method: such as `walletsolidity/getblock`.
            body: its parameters.
            read: reads the answer; what it raises as `NodeLied` is blamed on the node.
            height: nodes that have shown this solid block are asked first.

        Raises:
            NodeLied: when the answers of all nodes were lies; its subclass when all were of that kind.
            NodeUnavailable: when no node answers.
        """
        return await self._ask(method, body, lambda _, answer: read(answer), height)

    async def newest(self, method: str, body: dict[str, Any], read: Callable[[Any], Header]) -> Header:
        """Ask for a head; a node that is far behind the best one is passed over.

        Raises:
            NodeUnavailable: when no node answers.
        """
        best = self.best(method)
        behind: list[Header] = []

        def near(node: Node, answer: Any) -> Header:
            header = read(answer)
            if method.startswith("walletsolidity/"):
                node.reached = header.height
            if header.height < best - MOST_BEHIND:
                behind.append(header)
                raise NodeBehind(f"its head is {best - header.height} blocks behind")
            return header

        try:
            header = await self._ask(method, body, near, 0)
        except NodeUnavailable:
            if not behind:
                raise
            return max(behind, key=lambda h: h.height)  # nobody has more
        if header.height >= self._best.get(method, (0, 0.0))[0] or not best:
            self._best[method] = (header.height, self._now())
        return header

    def best(self, method: str) -> int:
        """Return the highest block that a node's head was at within the last minute."""
        height, seen_at = self._best.get(method, (0, float("-inf")))
        return 0 if self._now() - seen_at > BEST_KEPT_S else height

    async def ask_everywhere(self, method: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
        """Ask all nodes that are well, two at least where there are two; return who answered what.

        Raises:
            NodeUnavailable: when none answers.
        """
        by_wait = sorted(self.nodes, key=lambda node: node.ready_in_s)
        well = [node for node in by_wait if node.ready_in_s <= QUEUE_S and not node.away_s]
        soon = [node for node in by_wait if node.ready_in_s <= self._limits.patience_s]
        asked = well if len(well) >= BROADCASTS else soon[: max(BROADCASTS, len(well))]
        failures = {node.name: node.why for node in self.nodes if node not in asked}
        answers = []
        found = await asyncio.gather(*(node.call(method, body) for node in asked), return_exceptions=True)
        for node, answer in zip(asked, found, strict=True):
            if isinstance(answer, NodeUnavailable):
                failures[node.name] = answer.detail
            elif isinstance(answer, BaseException):
                raise answer
            else:
                node.praise()
                answers.append((node.name, answer))
        if not answers:
            raise self._nobody(method, failures)
        return answers

    async def _ask(self, method: str, body: dict[str, Any], read: Callable[[Node, Any], T], height: int) -> T:
        began = self._now()
        turns = dict.fromkeys(self.nodes, ROUNDS)
        lies: dict[str, NodeLied] = {}
        failures: dict[str, str] = {}
        while (node := self._next(turns, height)) is not None and self._now() - began < CALL_S:
            turns[node] -= 1
            asked_at = self._now()
            try:
                answer = await node.call(method, body)
            except NodeUnavailable as error:
                failures[node.name] = error.detail
                continue
            try:
                found = read(node, answer)
            except NodeLied as error:
                turns[node] = 0
                lies[node.name] = error
                failures[node.name] = error.detail
                outcome = "behind" if isinstance(error, NodeBehind) else "lied"
                node.pause(outcome, f"{method}: {error.detail}", asked_at)
                continue
            node.praise()
            return found
        if len(lies) == len(self.nodes):
            kinds = {type(lie) for lie in lies.values()}
            kind = kinds.pop() if len(kinds) == 1 else NodeLied
            raise kind("; ".join(f"{name}: {lie.detail}" for name, lie in lies.items()))
        for node in self.nodes:
            failures.setdefault(node.name, node.why)
        raise self._nobody(method, failures)

    def _next(self, turns: dict[Node, int], height: int) -> Node | None:
        """Return the node to ask: one that has the block, is ready soonest, and was used longest ago."""
        able = [node for node, left in turns.items() if left > 0 and self._is_soon(node)]
        return min(able, key=lambda n: (n.reached < height, n.ready_in_s, n.used_at), default=None)

    def _is_soon(self, node: Node) -> bool:
        return node.away_s <= self._limits.patience_s and node.ready_in_s <= QUEUE_S

    def _nobody(self, method: str, failures: dict[str, str]) -> NodeUnavailable:
        told = "; ".join(f"{name}: {why}" for name, why in failures.items())
        return NodeUnavailable(f"no Tron node of the setting TRON_NODE_URLS answers {method}: {told}")
