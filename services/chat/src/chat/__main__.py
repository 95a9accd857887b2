"""python -m chat {serve|api|worker|migrate|dead-letters|replay-dead-letters|discard-dead-letter}"""

import argparse
import asyncio
import sys

import uvloop

from chat.main import command_database, migrate, run
from common import dead_letter_commands

MODES = {
    "serve": "serve Socket.IO and HTTP, and work in the background",
    "api": "serve Socket.IO and HTTP alone",
    "worker": "work in the background alone",
    "migrate": "bring CHAT_DATABASE_URL to the newest schema",
}


async def command(options: argparse.Namespace) -> None:
    """Run one of the commands that need the database alone."""
    database = command_database()
    try:
        print(*await dead_letter_commands.run_command(database, options), sep="\n")
    finally:
        await database.close()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m chat", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in MODES.items():
        commands.add_parser(name, help=text)
    dead_letter_commands.add_commands(commands)
    options = parser.parse_args(sys.argv[1:])
    if options.command == "migrate":
        migrate()
    elif options.command in dead_letter_commands.NAMES:
        asyncio.run(command(options))
    else:
        uvloop.run(run(options.command))


if __name__ == "__main__":
    main()
