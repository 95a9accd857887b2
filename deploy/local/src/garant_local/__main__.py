"""python -m garant_local {run|demo}"""

import argparse
import sys

from garant_local.demo import demo
from garant_local.run import run


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m garant_local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="start the whole system; Ctrl-C stops it")
    commands.add_parser("demo", help="play the whole story against a running system")
    options = parser.parse_args()
    sys.exit(run() if options.command == "run" else demo())


if __name__ == "__main__":
    main()
