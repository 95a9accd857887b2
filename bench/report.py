"""The table on the terminal, and the same figures as JSON."""

import dataclasses
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.measure import Sample
from bench.rows import ROWS, Row


def _median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def summary(samples: Sequence[Sample], yardsticks: Sequence[float]) -> dict[str, Any]:
    """Return medians per row and per length of the past.

    A ratio is a sample's to the mean of the yardsticks before and after its round, so that a machine which others
    slow down meanwhile slows down both.
    """
    rows = {}
    for row in ROWS:
        measured = [s for s in samples if s.load == row.load]
        if measured:
            rows[row.load] = _row(row, measured, yardsticks)
    return {
        "cores": os.cpu_count(),
        "tpcb_per_second": _median(yardsticks),
        "tpcb_samples": list(yardsticks),
        "rows": rows,
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }


def _row(row: Row, samples: Sequence[Sample], yardsticks: Sequence[float]) -> dict[str, Any]:
    ratios = [(s.past, s.per_second / statistics.mean(yardsticks[s.round : s.round + 2])) for s in samples]
    by_past = {
        str(past): round(_median(ratio for p, ratio in ratios if p == past), 3)
        for past in sorted({s.past for s in samples})
    }
    return {
        "title": row.title,
        "per_second": round(_median(s.per_second for s in samples), 1),
        "ratio": round(_median(ratio for _, ratio in ratios), 4),
        "least": row.least,
        "aim": row.aim,
        "p50_ms": round(_median(s.p50_ms for s in samples), 2),
        "p99_ms": round(_median(s.p99_ms for s in samples), 2),
        "cpu_ms": {name: round(_median(s.cpu_ms[name] for s in samples), 3) for name in samples[0].cpu_ms},
        "generator_share": round(_median(s.generator_share for s in samples), 3),
        "ratio_by_past": by_past,
        "events_left": int(_median(s.events_left for s in samples)),
    }


def table(found: dict[str, Any]) -> str:
    """Write the table."""
    yardstick = found["tpcb_per_second"]
    low, high = min(found["tpcb_samples"]), max(found["tpcb_samples"])
    lines = [
        f"yardstick: pgbench TPC-B {yardstick:.0f} transactions/s"
        f" (median of {len(found['tpcb_samples'])}, {low:.0f} to {high:.0f}), {found['cores']} cores",
        "",
        f"{'row':40} {'per s':>8} {'x TPC-B':>8} {'least':>6} {'aim':>5} {'':5} {'p50 ms':>8} {'p99 ms':>8}"
        "  processor ms per unit",
    ]
    for row in found["rows"].values():
        reached = "aim" if row["ratio"] >= row["aim"] else "ok" if row["ratio"] >= row["least"] else "BELOW"
        cpu = " ".join(f"{name} {ms:.3g}" for name, ms in row["cpu_ms"].items() if ms >= 0.001)
        lines.append(
            f"{row['title']:40} {row['per_second']:8.0f} {row['ratio']:8.3f} {row['least']:6} {row['aim']:5}"
            f" {reached:5} {row['p50_ms']:8.2f} {row['p99_ms']:8.2f}  {cpu}"
            f" (generator {row['generator_share']:.0%} of the machine)"
        )
    pasts = list(next(iter(found["rows"].values()))["ratio_by_past"])
    lines += ["", f"{'x TPC-B with adjustments already there':40} " + " ".join(f"{int(p):>10,}" for p in pasts)]
    for row in found["rows"].values():
        if len(row["ratio_by_past"]) > 1:
            cells = " ".join(f"{row['ratio_by_past'][p]:10.3f}" for p in pasts)
            lines.append(f"{row['title']:40} {cells}")
    return "\n".join(lines)


def store(found: dict[str, Any], path: Path) -> None:
    """Write the JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
