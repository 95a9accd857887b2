"""python -m payments {serve|api|worker|migrate|create-seed|dead-letters|replay-dead-letters}"""

import argparse
import asyncio
import json
import sys

import uvloop

from common import dead_letter_commands
from common.migrate import upgrade
from payments.main import MIGRATIONS, command_database, make_seed, run

MODES = {
    "serve": "serve HTTP and work in the background",
    "api": "serve HTTP alone",
    "worker": "work in the background alone",
    "migrate": "bring PAYMENTS_DATABASE_URL to the newest schema",
    "create-seed": "make the wallets' seed unless there is one; prints the main and the fuel wallet, and the"
    " words of a new seed, which are never shown again",
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
    parser = argparse.ArgumentParser(prog="python -m payments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in MODES.items():
        commands.add_parser(name, help=text)
    dead_letter_commands.add_commands(commands)
    options = parser.parse_args(sys.argv[1:])
    if options.command == "migrate":
        upgrade(MIGRATIONS, command_database().url)
    elif options.command in dead_letter_commands.NAMES:
        asyncio.run(command(options))
    elif options.command == "create-seed":
        stored, words = asyncio.run(make_seed())
        shown = {"main_wallet": stored.main_address, "fuel_wallet": stored.fuel_address}
        print(json.dumps(shown | ({"mnemonic": words} if words else {})))
    else:
        uvloop.run(run(options.command))


if __name__ == "__main__":
    main()
