"""python -m bench.chatting [--quick] [--json FILE]

Exit code 1 when a figure is not reached. A message that is lost, doubled or out of order ends the run.
"""

import argparse
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import orjson

from bench.chatting.measure import Sample
from bench.chatting.report import Found, figures, measured
from bench.chatting.rows import FULL, QUICK, ROWS, Rows
from bench.chatting.servers import serving
from bench.paying.report import table


def main() -> None:
    """Measure, print, store, and say by the exit code whether it is enough."""
    parser = argparse.ArgumentParser(prog="python -m bench.chatting", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, shorter, with fewer idle clients")
    parser.add_argument("--row", action="append", choices=ROWS, help="these rows alone")
    parser.add_argument("--json", type=Path, default=Path(".garant-bench/chat.json"))
    options = parser.parse_args()
    began, plan, samples = time.monotonic(), QUICK if options.quick else FULL, list[Sample]()
    with serving() as (servers, fresh):
        rows = Rows(servers, fresh, plan)
        for number in range(plan.rounds):
            for sample in rows.round(number, options.row or ROWS):
                samples.append(sample)
                print(f"{number + 1} {sample.row:38} {sample.server:16} {sample.per_second:8.0f}/s", flush=True)
    found = Found(samples)
    reached = list(figures(found))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "cores": os.cpu_count(),
        "figures": [asdict(figure) for figure in reached],
        "samples": [asdict(sample) for sample in samples],
    }
    options.json.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
    print(f"\n{measured(found)}\n\n{table(reached)}")
    print(f"\nin {time.monotonic() - began:.0f} s; all of it is in {options.json}")
    sys.exit(0 if all(figure.reached for figure in reached) else 1)


if __name__ == "__main__":
    main()
