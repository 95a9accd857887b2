"""One Tron node over HTTP: its budget, and how long it is left alone after it failed.

What enters: a method and its body. What leaves: parsed JSON, or `NodeUnavailable`. What never happens here: a call
without a time-out, a URL or a key in a log (providers put keys into paths as well).
"""

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client import Counter, Gauge

from common.logging import get_logger
from common.metrics import REGISTRY
from payments.adapters.call_budget import DAY_S, CallBudget
from payments.domain.errors import NodeUnavailable

log = get_logger()

KEY_HEADER = "TRON-PRO-API-KEY"
LIMITED = frozenset({403, 429})
BUSY = "lack of computing resources"
"""What java-tron says, with status 200, when its own rate limit strikes."""
LONGEST_RETRY_AFTER_S = 3600.0

CALLS = Counter(
    "garant_payments_node_calls", "Calls of each Tron node by outcome", ["node", "outcome"], registry=REGISTRY
)
UP = Gauge(
    "garant_payments_node_up", "0 while a Tron node is left alone after a failure", ["node"], registry=REGISTRY
)


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node is: `wallet/` and `walletsolidity/` are below the URL."""

    url: str
    key: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its host and port: all that logs and metrics tell."""
        parts = urlsplit(self.url)
        return parts.hostname + (f":{parts.port}" if parts.port else "") if parts.hostname else "?"


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """What a node may be asked for, and how patient we are."""

    calls_per_s: float = 15.0
    calls_per_day: int | None = None
    timeout_s: float = 10.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 60.0
    """After a limit was hit: it is doubled up to here."""
    longest_outage_pause_s: float = 5.0
    """After anything else: asking a node that is down costs nothing."""
    patience_s: float = 3.0
    """How long a call waits for a node's pause to end when no other node is ready."""


class Failed(Exception):
    """A call of one node failed; `outcome` is its label, `retry_after_s` what the node asked for."""

    def __init__(self, outcome: str, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.outcome = outcome
        self.retry_after_s = retry_after_s


class Node:
    """One node. `reached` is the highest solid block that it has shown."""

    def __init__(
        self, address: NodeAddress, name: str, limits: NodeLimits, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.reached = 0
        self.used_at = 0.0
        self._limits = limits
        self._now = now
        self._budget = CallBudget(limits.calls_per_s, limits.calls_per_day, now, lambda: int(time.time() // DAY_S))
        self._failures = 0
        self._failed_at = float("-inf")
        self._away_until = float("-inf")
        self._why = ""
        base = address.url if address.url.endswith("/") else f"{address.url}/"
        headers = {KEY_HEADER: address.key} if address.key else {}
        self._client = httpx.AsyncClient(base_url=base, headers=headers, timeout=limits.timeout_s, trust_env=False)
        UP.labels(name).set(1)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    @property
    def away_s(self) -> float:
        """For how long it is left alone."""
        return max(0.0, self._away_until - self._now())

    @property
    def ready_in_s(self) -> float:
        """Return when a call could go out; never (infinity) once the day's budget is spent."""
        return float("inf") if self._budget.spent else max(self.away_s, self._budget.wait_s())

    @property
    def why(self) -> str:
        """Why it can't be asked now."""
        if self._budget.spent:
            return "its calls of this day are spent (TRON_NODE_CALLS_PER_DAY)"
        return f"left alone for {self.away_s:.1f} s after: {self._why}" if self.away_s else "its calls queue up"

    async def call(self, method: str, body: dict[str, Any]) -> Any:
        """Wait for its turn, then ask.

        Raises:
            NodeUnavailable: when it does not answer with JSON that is none of its faults.
        """
        self.used_at = self._now()
        await asyncio.sleep(max(self.away_s, self._budget.take()))
        if self.away_s:  # another call failed while this one waited
            raise NodeUnavailable(self.why)
        began = self._now()
        try:
            answer = await self._ask(method, body)
        except Failed as failure:
            self.pause(failure.outcome, str(failure), began, failure.retry_after_s)
            raise NodeUnavailable(str(failure)) from failure
        CALLS.labels(self.name, "ok").inc()
        return answer

    def praise(self) -> None:
        """Note that an answer was good: the next failure is its first again."""
        if self._failures and not self.away_s:
            log.info("node.back", node=self.name)
            self._failures = 0
            UP.labels(self.name).set(1)

    def pause(
        self, outcome: str, why: str, began: float | None = None, retry_after_s: float | None = None
    ) -> None:
        """Leave the node alone: twice as long after each failure, and as long as it asked for.

        Args:
            outcome: the label of the metric.
            why: what went wrong, for people; never with a URL.
            began: when the call began: of calls that fail together one counts.
            retry_after_s: what the node asked for.
        """
        CALLS.labels(self.name, outcome).inc()
        limits, now = self._limits, self._now()
        if began is None or began >= self._failed_at:
            self._failures += 1
        self._failed_at, self._why = now, why
        longest_s = limits.longest_pause_s if outcome == "limited" else limits.longest_outage_pause_s
        pause_s = min(limits.first_pause_s * 2 ** min(self._failures - 1, 16), longest_s)
        pause_s = pause_s * random.uniform(0.8, 1.0)  # noqa: S311 - spreads workers, guards nothing
        if retry_after_s is not None:
            pause_s = max(pause_s, min(retry_after_s, LONGEST_RETRY_AFTER_S))
        self._away_until = max(self._away_until, now + pause_s)
        UP.labels(self.name).set(0)
        level = log.warning if self._failures == 1 else log.debug
        level("node.left_alone", node=self.name, outcome=outcome, why=why, pause_s=round(pause_s, 1))

    async def _ask(self, method: str, body: dict[str, Any]) -> Any:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                response = await self._client.post(method, json=body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise Failed("timeout", f"no answer within {self._limits.timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise Failed("unreachable", type(error).__name__) from error
        if response.status_code != 200:
            outcome = "limited" if response.status_code in LIMITED else "error"
            raise Failed(outcome, f"status {response.status_code}", _retry_after_s(response))
        try:
            answer = json.loads(response.content)
        except ValueError as error:
            raise Failed("garbled", "it answers no JSON") from error
        if isinstance(answer, dict) and "Error" in answer:
            text = str(answer["Error"])[:200]
            raise Failed("limited" if BUSY in text else "error", text)
        return answer


def _retry_after_s(response: httpx.Response) -> float | None:
    """Return what the node asks for in seconds; a date is too rare to be read."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
