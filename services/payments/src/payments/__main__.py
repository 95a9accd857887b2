"""python -m payments {serve|api|worker|signer|migrate|create-seed|restore-seed|restore-wallets|…}"""

import argparse
import asyncio
import json
import sys
from getpass import getpass
from pathlib import Path

import uvloop

from common import dead_letter_commands
from common.errors import ServiceError
from payments import commands as chain_commands
from payments.adapters.keys import new_seed, read_key
from payments.main import command_database, command_parts, migrate, run, run_signer, seed_command
from payments.use_cases import manage_seed
from payments.use_cases.assign_wallet import assign_wallet
from payments.use_cases.replay_quarantined import replay_quarantined
from payments.use_cases.restore_wallets import GAP, restore_wallets

SERVING = {
    "serve": "serve HTTP and work in the background",
    "api": "serve HTTP alone",
    "worker": "work in the background alone",
    "signer": "sign what the worker asks for; the only process that has the seed",
    "migrate": "bring PAYMENTS_DATABASE_URL to the newest schema",
}
SEED = {
    "create-seed": "make the wallets' seed unless there is one; prints the main and the fuel wallet, and the"
    " words of a new seed, which are never shown again",
    "restore-seed": "store the seed of a mnemonic, which is read from standard input",
    "rotate-seed-key": "encrypt the seed with the key of another file",
    "check-seed": "open the seed and compare what is stored beside it",
}
WARNING, RESET = "\033[1;33m", "\033[0m"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m payments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    made = {name: commands.add_parser(name, help=text) for name, text in (SERVING | SEED).items()}
    made["create-seed"].add_argument(
        "--hide-words",
        action="store_true",
        help="show nobody the words: for a sandbox, where a log would keep them",
    )
    made["rotate-seed-key"].add_argument("--new-key-file", type=Path, required=True, help="32 bytes in hex")
    restore = commands.add_parser("restore-wallets", help="find wallets and their deposits again, by the ledger")
    restore.add_argument(
        "--gap", type=int, default=GAP, help="addresses that may be unknown beyond the last found"
    )
    restore.add_argument("--from-height", type=int, help="scan from this block on, where the cursor is lost")
    assign = commands.add_parser(
        "assign-wallet", help="give an address without an owner, and its money, to a user"
    )
    for name, kind in (("--address", str), ("--tenant", int), ("--user", int), ("--gateway", str)):
        assign.add_argument(name, type=kind, required=True)
    replay = commands.add_parser(
        "replay-quarantined", help="try again what the scanner set aside, once the code or a node is mended"
    )
    replay.add_argument("--txid", help="this transaction alone")
    dead_letter_commands.add_commands(commands)
    chain_commands.add_commands(commands)
    return parser.parse_args(arguments)


async def seed(options: argparse.Namespace) -> None:
    """Run a command of the seed."""
    async with seed_command() as (database, key):
        if options.command == "create-seed":
            stored, words = await manage_seed.create_seed(database, lambda: new_seed(key))
            words = None if options.hide_words else words
            shown = {"main_wallet": stored.root.main_address, "fuel_wallet": stored.root.fuel_address}
            _show_words(words)
            print(json.dumps(shown | ({"mnemonic": words} if words and not sys.stdout.isatty() else {})))
        elif options.command == "restore-seed":
            root, did = await manage_seed.restore_seed(database, _ask_for_words(), key)
            print(f"{did}: the main wallet is {root.main_address}, the fuel wallet {root.fuel_address}")
        elif options.command == "rotate-seed-key":
            await manage_seed.rotate_key(database, key, read_key(options.new_key_file, "--new-key-file"))
            print(
                f"the seed is encrypted anew; let PAYMENTS_SEED_KEY_FILE name {options.new_key_file} from now on"
            )
        else:
            root = await manage_seed.check_seed(database, key)
            print(
                f"the key file opens the seed of the main wallet {root.main_address}, and all that is stored fits"
            )


def _show_words(words: str | None) -> None:
    """Show the words of a new seed to a person; a program finds them in the JSON."""
    if words and sys.stdout.isatty():
        print(f"{WARNING}These words are all the money. Write them down now; they are never shown again.{RESET}\n")
        for start in range(0, 24, 6):
            some = words.split()[start : start + 6]
            print("  " + "  ".join(f"{start + n:2} {word:10}" for n, word in enumerate(some, 1)))
        print()


def _ask_for_words() -> str:
    if sys.stdin.isatty():
        return getpass("the words, in their order (they are not shown): ")
    return sys.stdin.readline()


async def wallets(options: argparse.Namespace) -> int:
    """Restore wallets, or give one an owner; return the exit code."""
    async with command_parts() as parts:
        if options.command == "assign-wallet":
            owner = (options.tenant, options.user)
            count = await assign_wallet(parts, options.address, owner, options.gateway)
            print(f"{options.address} is user {options.user}'s, with {count} deposits, which the worker credits")
            return 0
        found = await restore_wallets(parts, options.gap, options.from_height, _show_progress)
    print(json.dumps(found.shown(), indent=2))
    return 1 if found.problems else 0


def _show_progress(text: str) -> None:
    end = "\033[K" if sys.stderr.isatty() else "\n"
    print(f"\r{text}" if sys.stderr.isatty() else text, end=end, file=sys.stderr, flush=True)


async def command(options: argparse.Namespace) -> int:
    """Run a command; return the exit code."""
    if options.command in chain_commands.SHOWN:
        return await chain_commands.run_command(options)
    try:
        if options.command in SEED:
            await seed(options)
            return 0
        if options.command in ("restore-wallets", "assign-wallet"):
            return await wallets(options)
        if options.command == "replay-quarantined":
            async with command_parts() as parts:
                async for line in replay_quarantined(parts, options.txid):
                    print(line)
            return 0
        database = command_database()
        try:
            print(*await dead_letter_commands.run_command(database, options), sep="\n")
        finally:
            await database.close()
    except ServiceError as error:
        print(f"error: {error.detail}", file=sys.stderr)
        return 1
    return 0


def main() -> None:
    """Run what the command line asks for."""
    options = parse(sys.argv[1:])
    if options.command == "migrate":
        migrate()
    elif options.command == "signer":
        uvloop.run(run_signer())
    elif options.command in SERVING:
        uvloop.run(run(options.command))
    else:
        sys.exit(asyncio.run(command(options)))


if __name__ == "__main__":
    main()
