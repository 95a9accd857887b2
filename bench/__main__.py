"""python -m bench [--quick] [--row NAME]... [--json FILE]

Exit code 1 when a row is below its least or the ledger does not hold afterwards.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench import yardstick
from bench.books import Books
from bench.measure import Meter, Sample
from bench.report import store, summary, table
from bench.rows import ROWS, Row
from bench.servers import Servers, serving

REWRITE_UP_TO = 100_000
"""Below this, the ledger is written anew before each row: otherwise a row would soon double it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes."""

    pasts: tuple[int, ...]
    rounds: int
    row_s: float
    yardstick_s: int


FULL = Plan(pasts=(1_000, 100_000, 1_000_000), rounds=2, row_s=4, yardstick_s=4)
QUICK = Plan(pasts=(1_000, 100_000), rounds=1, row_s=2.5, yardstick_s=3)


def main() -> None:
    """Measure, print, store, and say by the exit code whether it is enough."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, with shorter pasts")
    parser.add_argument("--row", action="append", choices=[row.load for row in ROWS], help="these rows alone")
    parser.add_argument("--json", type=Path, default=Path(".garant-bench/ledger.json"))
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.row or row.load in options.row]
    started = time.monotonic()
    with serving() as servers:
        samples, yardsticks = _measure_all(servers, rows, QUICK if options.quick else FULL)
        _verify(servers)
    found = summary(samples, yardsticks)
    store(found, options.json)
    print(f"\n{table(found)}\n\nin {time.monotonic() - started:.0f} s; all of it is in {options.json}")
    sys.exit(0 if all(row["ratio"] >= row["least"] for row in found["rows"].values()) else 1)


def _measure_all(servers: Servers, rows: list[Row], plan: Plan) -> tuple[list[Sample], list[float]]:
    books = Books(servers.databases.owner_url("accounts"), servers.tenant_id)
    asyncio.run(books.open())
    yardstick.prepare(servers.databases)
    meter = Meter(servers, books, plan.row_s)
    samples, yardsticks = list[Sample](), list[float]()

    def measure_yardstick() -> None:
        yardsticks.append(yardstick.transactions_per_second(servers.databases, plan.yardstick_s))
        print(f"{'TPC-B':40} {yardsticks[-1]:8.0f}/s", flush=True)

    for past in plan.pasts:
        print(f"a ledger of {past:,} adjustments", flush=True)
        asyncio.run(books.rewrite(past))
        for _ in range(plan.rounds):
            measure_yardstick()
            for row in rows:
                if not row.ledger and past != plan.pasts[-1]:
                    continue
                samples.append(meter.measure(row, past, len(yardsticks) - 1))
                print(f"{row.title:40} {samples[-1].per_second:8.0f}/s", flush=True)
                if past <= REWRITE_UP_TO:
                    asyncio.run(_prove_and_rewrite(books, past))
    measure_yardstick()
    return samples, yardsticks


async def _prove_and_rewrite(books: Books, past: int) -> None:
    await books.prove()
    await books.rewrite(past)


def _verify(servers: Servers) -> None:
    """Prove the ledger by the command that an operator has."""
    done = subprocess.run(
        [sys.executable, "-m", "accounts", "verify"],
        env={**os.environ, "ACCOUNTS_DATABASE_URL": servers.databases.url("accounts")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the ledger does not hold:\n{done.stdout}{done.stderr}")
    violations = json.loads(done.stdout)["violations"]
    print(f"the ledger holds: {len(violations)} checks, no violation", flush=True)


if __name__ == "__main__":
    main()
