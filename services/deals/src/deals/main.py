"""The composition root of deals: settings → database, bus, accounts → application and background work."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from fastapi import FastAPI

from common.auth import CachedVerifier
from common.bus import Bus
from common.clock import SystemClock
from common.db import Database
from common.election import Elected
from common.gaps import outbox_routes
from common.internal import InternalClient, RemoteKeys
from common.metrics import watch_pool
from common.migrate import migrate_database
from common.money import Currencies
from common.outbox import Relay
from common.runner import Work, prepare, serve
from common.settings import load
from common.upkeep import upkeep
from common.web import Check, create_app
from deals.adapters.accounts import HttpAccounts
from deals.adapters.tokens import Ed25519Signer
from deals.api import internal, public
from deals.consumers.events import consumers, followed, handlers
from deals.jobs.timers import timers
from deals.settings import DealsCommandSettings, DealsMigrationSettings, DealsSettings
from deals.use_cases.check_invariants import check_invariants
from deals.use_cases.settle_commands import Money

MIGRATIONS = Path(__file__).parents[2] / "migrations"
SUBJECTS = ("deal.*", "dispute.*")
DESCRIPTION = "Deals, their actions and their disputes."


def build_app(ready: dict[str, Check], *, routed: bool = True) -> FastAPI:
    """Return the application, its state still empty; a worker's has the health endpoints alone."""
    app = create_app("Garant deals", DESCRIPTION, ready)
    if routed:
        app.include_router(public.routes)
        app.include_router(internal.routes)
        app.include_router(outbox_routes("chat"))
    return app


async def run(mode: str) -> None:
    """Serve HTTP (`api`), work in the background (`worker`), or both (`serve`), until SIGTERM."""
    settings = load(DealsSettings)
    prepare("deals", settings)
    async with AsyncExitStack() as stack:
        database = Database(settings.deals_database_url, "deals", settings.database_pool_size)
        watch_pool(lambda: database.in_use, settings.database_pool_size)
        stack.push_async_callback(database.close)
        bus = await Bus.connect(settings.nats_url, "deals")
        stack.push_async_callback(bus.close)
        client = InternalClient(settings.accounts_url, settings.service_credential)
        stack.push_async_callback(client.close)
        relay = Relay(settings.deals_database_url, "deals", bus)
        funding_wanted = asyncio.Event()
        money = Money(database, HttpAccounts(client), SystemClock(), relay.nudge, funding_wanted.set)
        verifier = CachedVerifier(RemoteKeys(client))
        await bus.declare_stream("DEALS", SUBJECTS)
        await bus.forget_revoked_keys(verifier)
        app = build_app({"database": database.ping, "nats": bus.ping}, routed=mode != "worker")
        app.state.database = database
        app.state.followed = followed(client)
        app.state.money = money
        app.state.verifier = verifier
        app.state.callers = settings.service_callers
        app.state.currencies = Currencies.parse(settings.currencies)
        app.state.signer = Ed25519Signer(settings.chat_token_private_key)
        work: list[Work] = [bus.until_closed]
        if mode != "api":
            handling = handlers(money)
            work += [relay.run, *consumers(bus, money, handling)]
            jobs = upkeep(
                database,
                lambda: check_invariants(database, money.accounts, app.state.followed),
                settings.invariants_interval_s,
                app.state.followed,
                handling,
            )
            jobs += timers(money, funding_wanted)
            work.append(Elected(settings.deals_database_url, "deals-jobs", jobs).run)
        await serve(app, settings.listen_address, settings.deals_port, work, settings.drain_s)


def command_database() -> Database:
    """Return the database for a command."""
    return Database(load(DealsCommandSettings).deals_database_url, "deals-command", 2)


def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = load(DealsMigrationSettings)
    migrate_database(MIGRATIONS, settings.deals_database_url, settings.database_owner_url)
