"""python -m chat {serve|migrate}"""

import argparse
import sys

import uvloop

from chat.main import migrate, run

MODES = {
    "serve": "serve Socket.IO and work in the background",
    "migrate": "bring CHAT_DATABASE_URL to the newest schema",
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m chat", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in MODES.items():
        commands.add_parser(name, help=text)
    if parser.parse_args(sys.argv[1:]).command == "migrate":
        migrate()
    else:
        uvloop.run(run())


if __name__ == "__main__":
    main()
