"""Looks for alarms on the way: what a service says of itself while blows fall counts as much as the proof at the end.

Metrics are asked for while the run goes on, and show that each service proves itself at all; a service that dies
takes its metrics with it, so what was logged is read as well.
"""

import asyncio
import collections
import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from support.client import Client

PROVEN_EVERY_S = 2
"""How often the services prove themselves in a run: blows leave none of them much time."""
LOOK_EVERY_S = 1.0
VIOLATIONS, CHECKED_AT = "garant_invariant_violations", "garant_invariants_checked_timestamp_seconds"
PROVERS = ("accounts", "deals", "payments", "chat")
LOGGED = (
    "invariant.violated",
    "command.alarm",
    "dead_letter.stored",
    "deposit.refused",
    "booking.refused",
    "transfer.unexplained",
    "transaction.set_aside",
    "chain.unlike_cursor",
    "http.bug",
)
"""Events that nothing which falls on us excuses. A gap of events is none: a broker that dies makes some, and they are closed."""
_LINE = re.compile(
    rf"(?P<name>\w+)(?:\.\d+)? *\| .*\bevent=(?P<event>{'|'.join(map(re.escape, LOGGED))})(?P<rest>.*)"
)


@dataclass(slots=True)
class Alarms:
    """What was seen: `raised` names each alarm of the metrics, `passes` are the proofs that each service finished."""

    client: Client
    raised: set[str] = field(default_factory=set)
    passes: "dict[str, set[float]]" = field(default_factory=lambda: collections.defaultdict(set))

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.gather(*(self._look(name) for name in PROVERS))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, name: str) -> None:
        with contextlib.suppress(httpx.TransportError):  # it is away: the next look tells
            answer = await self.client.http.get(f"{self.client.system.url(name)}/metrics", timeout=2)
            raised, checked_at = read_metrics(answer.text)
            self.raised |= {f"{name}: {invariant}" for invariant in raised}
            self.passes[name] |= {checked_at} - {0.0}

    def wrong(self, console: Iterable[str]) -> list[str]:
        """Return every alarm of the run, and each service that never proved itself.

        Args:
            console: the lines that all processes wrote.
        """
        silent = [name for name in PROVERS if len(self.passes[name]) < 2]
        return [
            *(f"alarm on the way, {alarm}" for alarm in sorted(self.raised)),
            *(f"alarm on the way, logged by {alarm}" for alarm in read_log(console)),
            *(f"{name} did not prove itself twice, so no alarm could be raised" for name in silent),
        ]


def read_metrics(text: str) -> tuple[set[str], float]:
    """Return the invariants that are violated by a service's metrics, and when it proved them last."""
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    raised = {s.labels["invariant"] for s in samples if s.name == VIOLATIONS and s.value > 0}
    return raised, max((s.value for s in samples if s.name == CHECKED_AT), default=0.0)


def read_log(console: Iterable[str]) -> list[str]:
    """Return the alarms among lines of the console, each once, with whose they are and what they are about."""
    found = [match for line in console if (match := _LINE.search(line))]
    return sorted({f"{m['name']}: {m['event']}{m['rest']}" for m in found})
