"""python -m bench.paying [--quick] [--json FILE]

Exit code 1 when an aim is missed.
"""

import argparse
import asyncio
import dataclasses
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog

from bench.paying.confirming import confirming
from bench.paying.costs import catching_up, derivation, detection, passes, rss_mb
from bench.paying.report import Figure, table
from bench.paying.stage import servers, staged
from support.chain import SandboxNode
from support.servers import Databases

LEVELS = (10, 1_000, 100_000)
"""Payments that wait; the first stands for those that the stage begins with."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes."""

    blocks: int
    caught_up: int
    deals: int
    derive_s: float
    passes_from: int
    """Passes of check_payments are looked at where so many payments wait."""


FULL = Plan(blocks=40, caught_up=7_200, deals=100, derive_s=3, passes_from=1_000)
QUICK = Plan(blocks=5, caught_up=1_200, deals=20, derive_s=1, passes_from=100_000)


def main() -> None:
    """Measure, print, store, and say by the exit code whether it is enough."""
    parser = argparse.ArgumentParser(prog="python -m bench.paying", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer blocks and deals")
    parser.add_argument("--json", type=Path, default=Path(".garant-bench/payments.json"))
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    began, plan = time.monotonic(), QUICK if options.quick else FULL
    figures = derivation(plan.derive_s) + _count(plan) + confirming(plan.deals)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    found = {"cores": os.cpu_count(), "figures": [dataclasses.asdict(figure) for figure in figures]}
    options.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    print(f"{table(figures)}\n\nin {time.monotonic() - began:.0f} s; the figures are in {options.json}")
    sys.exit(0 if all(figure.reached for figure in figures) else 1)


def _count(plan: Plan) -> list[Figure]:
    with servers() as (databases, node):
        return asyncio.run(_on_stage(plan, databases, node))


async def _on_stage(plan: Plan, databases: Databases, node: SandboxNode) -> list[Figure]:
    figures, held = list[Figure](), dict[int, float]()
    async with staged(databases, node) as stage:
        for level in LEVELS:
            await stage.fill(level)
            print(f"{stage.waiting:,} payments wait", file=sys.stderr, flush=True)
            figures += await detection(stage, plan.blocks)
            held[level] = rss_mb()
            if level >= plan.passes_from:
                figures += await passes(stage)
        more = held[LEVELS[-1]] - held[LEVELS[1]]
        figures.append(Figure("memory", "memory of 100,000 watched wallets", max(0.0, more), "MB", most=100))
        figures.append(await catching_up(stage, plan.caught_up))
    return figures


if __name__ == "__main__":
    main()
