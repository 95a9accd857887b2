"""The composition root of payments: settings → database, bus, node, signer → application and background work."""

import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI

from common.auth import CachedVerifier
from common.bus import Bus
from common.clock import SystemClock
from common.db import Database
from common.gaps import outbox_routes
from common.internal import InternalClient, RemoteKeys
from common.money import AmountError, Currencies
from common.outbox import Relay
from common.runner import Work, prepare, serve
from common.settings import EXIT_BAD_SETTING, load
from common.upkeep import upkeep
from common.web import Check, create_app
from payments.adapters.accounts import HttpAccounts
from payments.adapters.keys import DepositAddresses, KeyFileError, Seed, new_seed, read_key
from payments.adapters.signer import Bounds, LocalSigner
from payments.adapters.tron_node import TronNode
from payments.adapters.tron_usdt import TronUsdt
from payments.api import internal, public
from payments.consumers.events import consumers, followed, handlers
from payments.domain.model import StoredSeed
from payments.jobs.timers import timers
from payments.settings import PaymentsCommandSettings, PaymentsSettings
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.context import Payments, Policy
from payments.use_cases.manage_seed import create_seed, read_seed

MIGRATIONS = Path(__file__).parents[2] / "migrations"
SUBJECTS = ("payment.*", "withdrawal.*")
DESCRIPTION = "Gateways and payments."


def build_app(ready: dict[str, Check], *, routed: bool = True) -> FastAPI:
    """Return the application, its state still empty; a worker's has the health endpoints alone."""
    app = create_app("Garant payments", DESCRIPTION, ready)
    if routed:
        app.include_router(public.routes)
        app.include_router(internal.routes)
        app.include_router(outbox_routes("accounts"))
    return app


def _refuse(text: str) -> SystemExit:
    sys.stderr.write(f"error: {text}\n")
    return SystemExit(EXIT_BAD_SETTING)


def _policy(settings: PaymentsSettings, currencies: Currencies) -> Policy:
    usdt = currencies.get("USDT")
    if usdt is None:
        raise _refuse("the setting CURRENCIES must name USDT, which the gateway tron_usdt takes")
    try:
        threshold = usdt.to_units(settings.sweep_threshold)
    except AmountError as error:
        raise _refuse(f"the setting SWEEP_THRESHOLD is not valid: {error}") from error
    lifetime = timedelta(seconds=settings.payment_lifetime_s)
    return Policy(lifetime, threshold, settings.sweep_fee_cap_sun)


async def _stored_seed(database: Database) -> StoredSeed:
    stored = await read_seed(database)
    if stored is None:
        raise _refuse("there is no seed in PAYMENTS_DATABASE_URL; `python -m payments create-seed` makes one")
    return stored


def build_gateway(
    node_url: str,
    token: str,
    stored: StoredSeed,
    seed: Seed,
    *,
    fee_cap_sun: int,
    main_wallet: str | None = None,
) -> tuple[TronUsdt, LocalSigner, TronNode]:
    """Wire the gateway, its signer and its node."""
    main_address = main_wallet or stored.main_address
    node = TronNode(node_url, token)
    addresses = DepositAddresses(stored.deposit_xpub)
    gateway = TronUsdt(node, addresses, main_address, stored.fuel_address, token)
    signer = LocalSigner(seed, Bounds([token], main_address, stored.fuel_address, fee_cap_sun))
    return gateway, signer, node


def build_parts(
    settings: PaymentsSettings,
    database: Database,
    stored: StoredSeed,
    accounts: HttpAccounts,
    relay: Relay,
) -> tuple[Payments, TronNode]:
    """Wire what the use cases share."""
    try:
        seed = Seed(stored, read_key(settings.payments_seed_key_file))
    except KeyFileError as error:
        raise _refuse(str(error)) from error
    gateway, signer, node = build_gateway(
        settings.tron_node_url,
        settings.tron_usdt_contract,
        stored,
        seed,
        fee_cap_sun=settings.sweep_fee_cap_sun,
        main_wallet=settings.tron_main_wallet,
    )
    parts = Payments(
        database=database,
        gateways={gateway.info.id: gateway},
        accounts=accounts,
        signer=signer,
        clock=SystemClock(),
        policy=_policy(settings, Currencies.parse(settings.currencies)),
        told=relay.nudge,
    )
    return parts, node


async def run(mode: str) -> None:
    """Serve HTTP (`api`), work in the background (`worker`), or both (`serve`), until SIGTERM."""
    settings = load(PaymentsSettings)
    prepare("payments", settings)
    async with AsyncExitStack() as stack:
        database = Database(settings.payments_database_url, "payments", settings.database_pool_size)
        stack.push_async_callback(database.close)
        stored = await _stored_seed(database)
        bus = await Bus.connect(settings.nats_url, "payments")
        stack.push_async_callback(bus.close)
        client = InternalClient(settings.accounts_url, settings.service_credential)
        stack.push_async_callback(client.close)
        relay = Relay(settings.payments_database_url, "payments", bus)
        parts, node = build_parts(settings, database, stored, HttpAccounts(client), relay)
        stack.push_async_callback(node.close)
        verifier = CachedVerifier(RemoteKeys(client))
        await bus.declare_stream("PAYMENTS", SUBJECTS)
        await bus.forget_revoked_keys(verifier)
        app = build_app({"database": database.ping, "nats": bus.ping}, routed=mode != "worker")
        app.state.database = database
        app.state.followed = followed(client)
        app.state.parts = parts
        app.state.verifier = verifier
        app.state.callers = settings.service_callers
        app.state.currencies = Currencies.parse(settings.currencies)
        work: list[Work] = [bus.until_closed]
        if mode != "api":
            handling = handlers(parts)
            work += [relay.run, *consumers(bus, parts, handling)]
            work += upkeep(
                database,
                lambda: check_invariants(parts, app.state.followed),
                settings.invariants_interval_s,
                app.state.followed,
                handling,
            )
            work += timers(parts, settings.tron_scan_interval_s, settings.payments_check_interval_s)
        await serve(app, settings.listen_address, settings.payments_port, work)


def command_database() -> Database:
    """Return the database for a command."""
    return Database(load(PaymentsCommandSettings).payments_database_url, "payments-command", 2)


async def make_seed() -> tuple[StoredSeed, str | None]:
    """Make the seed unless there is one; return it, and the words of a new one."""
    settings = load(PaymentsCommandSettings)
    if settings.payments_seed_key_file is None:
        raise _refuse("the setting PAYMENTS_SEED_KEY_FILE is not set")
    try:
        key = read_key(settings.payments_seed_key_file)
    except KeyFileError as error:
        raise _refuse(str(error)) from error
    database = Database(settings.payments_database_url, "payments-command", 2)
    try:
        return await create_seed(database, lambda: new_seed(key))
    finally:
        await database.close()
