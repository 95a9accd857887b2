"""python -m accounts {serve|api|worker|migrate|bootstrap|verify|create-tenant|close-tenant|create-key|…}"""

import argparse
import asyncio
import json
import sys

import uvloop

from accounts.main import bootstrap_keys, command_database, migrate, run
from accounts.use_cases import manage_keys
from accounts.use_cases.check_invariants import check_invariants
from common import dead_letter_commands
from common.errors import ServiceError


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m accounts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("serve", "serve HTTP and work in the background"),
        ("api", "serve HTTP alone"),
        ("worker", "work in the background alone"),
        ("migrate", "bring ACCOUNTS_DATABASE_URL to the newest schema"),
        ("bootstrap", "make the tenants and keys of BOOTSTRAP_KEYS known; may be run again"),
        ("verify", "check the whole ledger; exit code 1 when it does not hold"),
    ):
        commands.add_parser(name, help=text)
    tenant = commands.add_parser("create-tenant", help="create a tenant, a marketplace; prints its id")
    tenant.add_argument("--name", required=True)
    key = commands.add_parser("create-key", help="create an API key; prints it once")
    key.add_argument("--tenant", type=int, required=True, help="the tenant's id")
    key.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=manage_keys.SCOPES,
        help="may be repeated",
    )
    close = commands.add_parser(
        "close-tenant", help="close a tenant for good: its keys are revoked, its money stays in the ledger"
    )
    close.add_argument("--tenant-id", type=int, required=True)
    revoke = commands.add_parser("revoke-key", help="revoke an API key everywhere")
    revoke.add_argument("--key-id", type=int, required=True)
    dead_letter_commands.add_commands(commands)
    return parser.parse_args(arguments)


def _show_progress(check: str, rows: int) -> None:
    """Tell, on one line of the terminal, how far the proof is."""
    print(f"\r{check}: {rows:,} rows checked", end="\033[K", file=sys.stderr, flush=True)


def _tell_closed(tenant_id: int, closed: manage_keys.TenantClosed) -> str:
    keys = ", ".join(str(key_id) for key_id in closed.revoked_key_ids) or "none, since none was live"
    first = f"closed the tenant {tenant_id}" if closed.was_open else f"the tenant {tenant_id} was closed before"
    return f"{first}; keys revoked: {keys}; its users, deals and money stay as they are"


async def command(options: argparse.Namespace) -> int:
    """Run one of the commands that need the database alone; return the exit code."""
    database = command_database()
    try:
        if options.command == "create-tenant":
            print(await manage_keys.create_tenant(database, options.name))
        elif options.command == "create-key":
            key_id, key = await manage_keys.create_key(database, options.tenant, options.scope)
            print(json.dumps({"key_id": key_id, "key": key}))
        elif options.command == "bootstrap":
            print(f"{await manage_keys.bootstrap(database, bootstrap_keys())} new keys")
        elif options.command == "close-tenant":
            closed = await manage_keys.close_tenant(database, options.tenant_id)
            print(_tell_closed(options.tenant_id, closed))
        elif options.command == "verify":
            found = await check_invariants(database, progress=_show_progress)
            print(file=sys.stderr)
            print(json.dumps(found, indent=2))
            return 0 if found["ok"] else 1
        elif options.command in dead_letter_commands.NAMES:
            print(*await dead_letter_commands.run_command(database, options), sep="\n")
        else:
            await manage_keys.revoke_key(database, options.key_id)
            print(f"revoked {options.key_id}")
    except ServiceError as error:
        print(f"error: {error.detail}", file=sys.stderr)
        return 1
    finally:
        await database.close()
    return 0


def main() -> None:
    """Run what the command line asks for."""
    options = parse(sys.argv[1:])
    if options.command in {"serve", "api", "worker"}:
        uvloop.run(run(options.command))
    elif options.command == "migrate":
        migrate()
    else:
        sys.exit(asyncio.run(command(options)))


if __name__ == "__main__":
    main()
