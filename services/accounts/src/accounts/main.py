"""The composition root of accounts: settings → database, bus, ledger → application and background work."""

from contextlib import AsyncExitStack
from pathlib import Path

from fastapi import FastAPI

from accounts.api import internal, public
from accounts.consumers.events import consumers, followed, handlers
from accounts.settings import (
    AccountsBootstrapSettings,
    AccountsCommandSettings,
    AccountsMigrationSettings,
    AccountsSettings,
)
from accounts.use_cases.check_invariants import check_invariants
from accounts.use_cases.manage_keys import LocalKeys, Wanted
from accounts.use_cases.post_operations import Ledger
from common.auth import CachedVerifier
from common.bus import Bus
from common.db import Database
from common.election import Elected
from common.gaps import outbox_routes
from common.internal import InternalClient
from common.metrics import watch_pool
from common.migrate import migrate_database
from common.money import Currencies
from common.outbox import Relay
from common.runner import Work, prepare, serve
from common.settings import load
from common.upkeep import upkeep
from common.web import Check, create_app

MIGRATIONS = Path(__file__).parents[2] / "migrations"
SUBJECTS = ("user.*", "balance.*", "api_key.*")
DESCRIPTION = "Users, their balances and statements."


def build_app(ready: dict[str, Check], *, routed: bool = True) -> FastAPI:
    """Return the application, its state still empty; a worker's has the health endpoints alone."""
    app = create_app("Garant accounts", DESCRIPTION, ready)
    if routed:
        app.include_router(public.routes)
        app.include_router(internal.routes)
        app.include_router(outbox_routes("deals", "payments"))
    return app


async def run(mode: str) -> None:
    """Serve HTTP (`api`), work in the background (`worker`), or both (`serve`), until SIGTERM."""
    settings = load(AccountsSettings)
    prepare("accounts", settings)
    async with AsyncExitStack() as stack:
        database = Database(settings.accounts_database_url, "accounts", settings.database_pool_size)
        watch_pool(lambda: database.in_use, settings.database_pool_size)
        stack.push_async_callback(database.close)
        bus = await Bus.connect(settings.nats_url, "accounts")
        stack.push_async_callback(bus.close)
        payments = InternalClient(settings.payments_url, settings.service_credential)
        stack.push_async_callback(payments.close)
        relay = Relay(settings.accounts_database_url, "accounts", bus)
        ledger = Ledger(database, relay.nudge)
        verifier = CachedVerifier(LocalKeys(database))
        await bus.declare_stream("ACCOUNTS", SUBJECTS)
        await bus.forget_revoked_keys(verifier)
        app = build_app({"database": database.ping, "nats": bus.ping}, routed=mode != "worker")
        app.state.database = database
        app.state.followed = followed(payments)
        app.state.ledger = ledger
        app.state.verifier = verifier
        app.state.callers = settings.service_callers
        app.state.currencies = Currencies.parse(settings.currencies)
        work: list[Work] = [bus.until_closed]
        if mode != "api":
            handling = handlers(database, ledger)
            work += [relay.run, *consumers(bus, database, handling)]
            jobs = upkeep(
                database,
                lambda: check_invariants(database, app.state.followed),
                settings.invariants_interval_s,
                app.state.followed,
                handling,
            )
            work.append(Elected(settings.accounts_database_url, "accounts-jobs", jobs).run)
        await serve(app, settings.listen_address, settings.accounts_port, work, settings.drain_s)


def command_database() -> Database:
    """Return the database for a command."""
    settings = load(AccountsCommandSettings)
    return Database(settings.accounts_database_url, "accounts-command", 2)


def bootstrap_keys() -> list[Wanted]:
    """Return the keys that `bootstrap` has to make known."""
    return [Wanted(k.tenant, k.scopes, k.key) for k in load(AccountsBootstrapSettings).bootstrap_keys]


def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = load(AccountsMigrationSettings)
    migrate_database(MIGRATIONS, settings.accounts_database_url, settings.database_owner_url)
