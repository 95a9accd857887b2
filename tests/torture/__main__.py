"""`make torture`: exit code 0 when money was never wrong, 1 with the reasons, and the data folder kept."""

import argparse
import secrets
import shutil
import sys

from torture.plan import plan
from torture.run import new_folder, torture


def main() -> None:
    """Run as the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long the blows fall")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="what the blows follow from")
    parser.add_argument("--workers", type=int, default=8, help="stories at the same time")
    parser.add_argument("--plan", action="store_true", help="tell the blows and do nothing")
    options = parser.parse_args()
    if options.plan:
        print(*plan(options.seed, options.seconds), sep="\n")
        return
    folder = new_folder()
    report = torture(options.seed, options.seconds, options.workers, folder)
    if report.wrong:
        print(f"the data folder is kept: {folder}", flush=True)
        sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
