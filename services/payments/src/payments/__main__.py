"""python -m payments {serve|api|worker|migrate|create-seed}"""

import argparse
import asyncio
import json
import sys

import uvloop

from payments.main import make_seed, migrate, run

MODES = {
    "serve": "serve HTTP and work in the background",
    "api": "serve HTTP alone",
    "worker": "work in the background alone",
    "migrate": "bring PAYMENTS_DATABASE_URL to the newest schema",
    "create-seed": "make the wallets' seed unless there is one; prints the main and the fuel wallet, and the"
    " words of a new seed, which are never shown again",
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m payments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in MODES.items():
        commands.add_parser(name, help=text)
    command = parser.parse_args(sys.argv[1:]).command
    if command == "migrate":
        migrate()
    elif command == "create-seed":
        stored, words = asyncio.run(make_seed())
        shown = {"main_wallet": stored.main_address, "fuel_wallet": stored.fuel_address}
        print(json.dumps(shown | ({"mnemonic": words} if words else {})))
    else:
        uvloop.run(run(command))


if __name__ == "__main__":
    main()
