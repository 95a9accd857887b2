"""python -m deals {serve|api|worker|migrate}"""

import argparse
import sys

import uvloop

from deals.main import migrate, run

MODES = {
    "serve": "serve HTTP and work in the background",
    "api": "serve HTTP alone",
    "worker": "work in the background alone",
    "migrate": "bring DEALS_DATABASE_URL to the newest schema",
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m deals", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in MODES.items():
        commands.add_parser(name, help=text)
    command = parser.parse_args(sys.argv[1:]).command
    if command == "migrate":
        migrate()
    else:
        uvloop.run(run(command))


if __name__ == "__main__":
    main()
