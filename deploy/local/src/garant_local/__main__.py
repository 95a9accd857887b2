"""python -m garant_local {run|demo|up|down|secrets}"""

import argparse
import sys
from pathlib import Path

from garant_local.compose import down, up
from garant_local.demo import demo
from garant_local.run import run
from garant_local.secret_files import write_secret_files
from garant_local.settings import ROOT

COMMANDS = {"run": run, "demo": demo, "up": up, "down": down}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m garant_local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="start the whole system; Ctrl-C stops it")
    commands.add_parser("demo", help="play the whole story against a running system")
    commands.add_parser("up", help="start the whole system from images, on a chain of its own")
    commands.add_parser("down", help="stop what `up` started; its data stays")
    files = commands.add_parser("secrets", help="make the secrets of docker-compose.yml that are missing")
    files.add_argument("--folder", type=Path, default=ROOT / "deploy" / "secrets")
    options = parser.parse_args()
    if options.command == "secrets":
        write_secret_files(options.folder)
        print(f"the secrets are in {options.folder}; keep a copy where nobody else can read it")
    else:
        sys.exit(COMMANDS[options.command]())


if __name__ == "__main__":
    main()
