"""What the samples say: a table of what was measured, and the figures that must be reached."""

import statistics
from collections.abc import Callable, Iterator, Sequence

from bench.chatting.loads import ATTACKS
from bench.chatting.measure import GENERATOR, Sample
from bench.chatting.servers import BATCHED, NODE, OURS, OURS_TOO
from bench.paying.report import Figure

SHOWN = (OURS, OURS_TOO, NODE, BATCHED, "postgres", "nats")
LEAST_SHARE = 0.01
LEAST_LEFT = 0.67
"""What attackers must leave to the others."""


class Found:
    """The samples by row and server, in the order of the rounds."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def of(self, row: str, server: str = OURS) -> list[Sample]:
        """Return the samples of a row on a server."""
        return [s for s in self._samples if (s.row, s.server) == (row, server)]

    def median(self, row: str, server: str, value: Callable[[Sample], float]) -> float:
        """Return the median of a value."""
        return statistics.median(value(sample) for sample in self.of(row, server))

    def ratio(
        self,
        one: tuple[str, str],
        other: tuple[str, str],
        value: Callable[[Sample], float] = lambda s: s.per_second,
    ) -> float:
        """Return the median of the rounds' ratios: what slows the machine slows both of a round."""
        pairs = zip(self.of(*one), self.of(*other), strict=True)
        return statistics.median(value(a) / value(b) for a, b in pairs)

    @property
    def timed(self) -> list[tuple[str, str]]:
        """The rows and servers with a rate, in the order they were first measured."""
        return list(dict.fromkeys((s.row, s.server) for s in self._samples if s.per_second))


def figures(found: Found) -> Iterator[Figure]:
    """Return what must be reached, of the rows that were measured."""
    for write in (_speed, _processes, _attacks, _idle, _joins, _memory):
        yield from write(found)


def _speed(found: Found) -> Iterator[Figure]:
    for row, least, least_batched in (("cycles", 1.1, 0.5), ("messages", 1.4, 0.6)):
        for server, factor in ((NODE, least), (BATCHED, least_batched)):
            if found.of(row):
                ratio = found.ratio((row, OURS), (row, server))
                yield Figure(f"{row} {server}", f"{row}/s against {server}", ratio, "x", least=factor)


def _processes(found: Found) -> Iterator[Figure]:
    for row in ("messages, two processes", "messages, rooms over two processes"):
        if found.of(row) and found.of("messages"):
            ratio = found.ratio((row, OURS), ("messages", OURS))
            yield Figure(row, f"{row}, against one process", ratio, "x")


def _attacks(found: Found) -> Iterator[Figure]:
    for kind in ATTACKS:
        row = f"messages beside {kind}"
        if found.of(row):
            left = found.ratio((row, OURS), ("messages before an attack", OURS))
            attacks = found.median(row, OURS, lambda s: s.more["attacks"])
            title = f"messages/s beside {attacks:.0f} attacks/s ({kind}), against alone"
            yield Figure(kind, title, left, "x", least=LEAST_LEFT)


def _idle(found: Found) -> Iterator[Figure]:
    alone, beside = "steady messages", "steady messages beside idle clients"
    if found.of(beside):
        slower = found.ratio((beside, OURS), (alone, OURS), lambda s: s.p99_ms)
        yield Figure("idle", "message p99 beside idle clients, against alone", slower, "x", most=2)


def _joins(found: Found) -> Iterator[Figure]:
    samples = found.of("joins")
    if samples:
        p99 = statistics.median(s.p99_ms for s in samples)
        yield Figure("join", "join of a chat with 10,000 messages, p99", p99, "ms", most=250)
        reads = max(s.more["reads"] for s in samples)
        yield Figure("join reads", "lookups of messages by such a join", reads, "scans", most=1.1)
        grown = max(s.more["memory_mib"] for s in samples)
        yield Figure("join memory", "memory that such joins took, at most", grown, "MiB", most=32)


def _memory(found: Found) -> Iterator[Figure]:
    for server in (OURS, NODE, BATCHED):
        if found.of("memory", server):
            grown = found.median("memory", server, lambda s: s.more["memory_mib"])
            most = 40.0 if server == OURS else None
            yield Figure(
                f"memory {server}", f"memory of 1,000 idle connections, {server}", grown, "MiB", most=most
            )


def measured(found: Found) -> str:
    """Write the table of medians."""
    head = f"{'row':38} {'server':16} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8}"
    return "\n".join(
        [f"{head}  processor us per unit (share of a core)", *(_line(found, *key) for key in found.timed)]
    )


def _line(found: Found, row: str, server: str) -> str:
    samples = found.of(row, server)
    rate = statistics.median(s.per_second for s in samples)
    p50, p99 = (statistics.median(times) for times in zip(*((s.p50_ms, s.p99_ms) for s in samples), strict=True))
    parts = []
    for name in (*SHOWN, GENERATOR):
        share = statistics.median(s.shares.get(name, 0.0) for s in samples)
        if share >= LEAST_SHARE:
            parts.append(f"{name} {statistics.median(s.cpu_us(name) for s in samples):.0f} ({share:.0%})")
    return f"{row:38} {server:16} {rate:8.0f} {p50:8.2f} {p99:8.2f}  {', '.join(parts)}"
