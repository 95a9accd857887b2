"""The composition root of payments: settings → database, bus, node, signer → application and background work.

The signer is a process of its own (`run_signer`): nothing else here has the seed or its key.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from fastapi import FastAPI

from common import crash
from common.auth import CachedVerifier
from common.bus import Bus
from common.clock import SystemClock
from common.db import Database
from common.election import Elected
from common.gaps import outbox_routes
from common.internal import InternalClient, RemoteKeys
from common.metrics import watch_pool
from common.migrate import migrate_database
from common.money import AmountError, Currencies, Currency
from common.outbox import Relay
from common.runner import Work, prepare, serve
from common.settings import EXIT_BAD_SETTING, load
from common.upkeep import upkeep
from common.web import Check, create_app
from payments.adapters.accounts import HttpAccounts
from payments.adapters.gateway_plugins import Host, PluginError, load_gateways
from payments.adapters.keys import DepositAddresses, KeyFileError, Seed, read_key
from payments.adapters.node import NodeAddress, NodeLimits
from payments.adapters.node_pool import NodePool
from payments.adapters.remote_signer import RemoteSigner
from payments.adapters.signer import Bounds, LocalSigner
from payments.adapters.tron_gateway import NETWORK, TronGateway
from payments.adapters.tron_node import TronNode
from payments.api import internal, public, signing, withdrawals
from payments.consumers.events import consumers, followed, handlers
from payments.domain.intents import NATIVE
from payments.domain.limits import Limits
from payments.domain.model import GatewayInfo, StoredSeed, WalletRoot
from payments.domain.ports import Gateway
from payments.jobs.timers import timers
from payments.settings import (
    PaymentsCommandSettings,
    PaymentsMigrationSettings,
    PaymentsSettings,
    SeedCommandSettings,
    SignerSettings,
)
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.context import Payments, Policy, WithdrawalLimits
from payments.use_cases.manage_seed import NO_SEED, read_root, read_seed
from payments.use_cases.sign_intent import Signing

MIGRATIONS = Path(__file__).parents[2] / "migrations"
SUBJECTS = ("payment.*", "withdrawal.*")
DESCRIPTION = "Gateways and payments."
SIGNER_POOL_SIZE = 4

Known = tuple[Database, WalletRoot]


def build_app(ready: dict[str, Check], *, routed: bool = True) -> FastAPI:
    """Return the application, its state still empty; a worker's has the health endpoints alone."""
    app = create_app("Garant payments", DESCRIPTION, ready)
    if routed:
        app.include_router(withdrawals.routes)
        app.include_router(public.routes)
        app.include_router(internal.routes)
        app.include_router(outbox_routes("accounts"))
    return app


def _refuse(text: str) -> SystemExit:
    sys.stderr.write(f"error: {text}\n")
    return SystemExit(EXIT_BAD_SETTING)


def _policy(settings: PaymentsSettings, currencies: Currencies, gateways: Collection[Gateway]) -> Policy:
    thresholds = {}
    for gateway in gateways:
        code = gateway.info.currency
        currency, least = currencies.get(code), settings.sweep_thresholds.get(code)
        if currency is None:
            raise _refuse(f"the setting CURRENCIES must name {code}, which the gateway {gateway.info.id} takes")
        if least is None:
            raise _refuse(f"the setting SWEEP_THRESHOLDS must name {code}, which {gateway.info.id} takes")
        try:
            thresholds[code] = currency.to_units(least)
        except AmountError as error:
            raise _refuse(f"the setting SWEEP_THRESHOLDS is not valid: {code}: {error}") from error
    return Policy(
        payment_lifetime=timedelta(seconds=settings.payment_lifetime_s),
        sweep_thresholds=thresholds,
        sweep_fee_cap_sun=settings.sweep_fee_cap_sun,
        withdrawals=_withdrawal_limits(settings, currencies),
        blocks_in_flight=settings.tron_blocks_in_flight,
        stale_after=timedelta(seconds=settings.tron_stale_after_s),
    )


def _withdrawal_limits(settings: PaymentsSettings, currencies: Currencies) -> dict[str, WithdrawalLimits]:
    found = {}
    for code, limit in settings.withdrawal_limits.items():
        currency = currencies.get(code)
        if currency is None:
            raise _refuse(f"the setting CURRENCIES must name {code}, which WITHDRAWAL_LIMITS limits")
        try:
            above = None if limit.approval_above is None else currency.to_units(limit.approval_above)
            found[code] = WithdrawalLimits(currency.to_units(limit.most), currency.to_units(limit.per_day), above)
        except AmountError as error:
            raise _refuse(f"the setting WITHDRAWAL_LIMITS is not valid: {code}: {error}") from error
    return found


async def _root(database: Database) -> WalletRoot:
    root = await read_root(database)
    if root is None:
        raise _refuse("there is no seed in PAYMENTS_DATABASE_URL; `python -m payments create-seed` makes one")
    return root


def node_addresses(settings: PaymentsSettings) -> list[NodeAddress]:
    """Return the Tron nodes with their keys."""
    return [NodeAddress(url, settings.tron_node_keys.get(url)) for url in settings.nodes]


def node_limits(settings: PaymentsSettings) -> NodeLimits:
    """Return what each Tron node may be asked for."""
    return NodeLimits(settings.tron_node_calls_per_s, settings.tron_node_calls_per_day)


def build_gateways(
    pool: NodePool, root: WalletRoot, wanted: Collection[str], main_wallet: str | None = None
) -> tuple[dict[str, Gateway], TronNode]:
    """Load the gateways and wire those on Tron to its nodes.

    Raises:
        PluginError: when a gateway can't be loaded.
    """
    node, addresses = TronNode(pool), DepositAddresses(root.deposit_xpub)

    def on_tron(info: GatewayInfo, asset: str) -> Gateway:
        if asset != NATIVE and not node.is_address(asset):
            raise ValueError(f"{asset!r} is no contract on Tron")
        if info.network != NETWORK:
            raise ValueError(f"the network of {info.id} is {NETWORK}, not {info.network}")
        node.watch(asset)
        return TronGateway(info, asset, node, addresses, main_wallet or root.main_address, root.fuel_address)

    return load_gateways(Host(os.environ, on_tron), wanted), node


def build_parts(
    settings: PaymentsSettings,
    stack: AsyncExitStack,
    client: InternalClient,
    told: Callable[[], None],
    known: Known,
) -> Payments:
    """Wire what the use cases share; the stack closes it.

    Args:
        client: accounts.
        known: the database and the public part of the seed.
    """
    database, root = known
    pool = NodePool(node_addresses(settings), node_limits(settings))
    wanted = [name.strip() for name in settings.gateways.split(",")]
    try:
        gateways, node = build_gateways(pool, root, wanted, settings.tron_main_wallet)
    except PluginError as error:
        raise _refuse(str(error)) from error
    stack.push_async_callback(node.close)
    signer = InternalClient(settings.signer_url, settings.signer_credential)
    stack.push_async_callback(signer.close)
    return Payments(
        database=database,
        gateways=gateways,
        accounts=HttpAccounts(client),
        signer=RemoteSigner(signer),
        clock=SystemClock(),
        policy=_policy(settings, Currencies.parse(settings.currencies), gateways.values()),
        told=told,
    )


async def run(mode: str) -> None:
    """Serve HTTP (`api`), work in the background (`worker`), or both (`serve`), until SIGTERM."""
    settings = load(PaymentsSettings)
    prepare("payments", settings)
    async with AsyncExitStack() as stack:
        database = Database(settings.payments_database_url, "payments", settings.database_pool_size)
        watch_pool(lambda: database.in_use, settings.database_pool_size)
        stack.push_async_callback(database.close)
        root = await _root(database)
        bus = await Bus.connect(settings.nats_url, "payments")
        stack.push_async_callback(bus.close)
        client = InternalClient(settings.accounts_url, settings.service_credential)
        stack.push_async_callback(client.close)
        relay = Relay(settings.payments_database_url, "payments", bus)
        parts = build_parts(settings, stack, client, relay.nudge, (database, root))
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
            jobs = upkeep(
                database,
                lambda: check_invariants(parts, app.state.followed),
                settings.invariants_interval_s,
                app.state.followed,
                handling,
            )
            jobs += timers(parts, settings.tron_scan_interval_s, settings.payments_check_interval_s)
            work.append(Elected(settings.payments_database_url, "payments-jobs", jobs).run)
        await serve(app, settings.listen_address, settings.payments_port, work, settings.drain_s)


def build_signer_app(ready: dict[str, Check]) -> FastAPI:
    """Return the signer's application, its state still empty."""
    app = create_app("Garant signer", "Signs intents of payments.", ready)
    app.include_router(signing.routes)
    return app


def build_signer(stored: StoredSeed, key: bytes, assets: Collection[str], settings: SignerSettings) -> LocalSigner:
    """Open the seed and wire what signs with it.

    Raises:
        KeyFileError: when the key does not open it.
    """
    root = stored.root
    main_address = settings.tron_main_wallet or root.main_address
    bounds = Bounds(assets, main_address, root.fuel_address, settings.sweep_fee_cap_sun)
    return LocalSigner(Seed(stored, key), bounds)


def _assets(settings: SignerSettings) -> dict[str, tuple[str, Currency]]:
    """Return the assets by code: what the intents call each, and its currency."""
    currencies, found = Currencies.parse(settings.currencies), {"TRX": (NATIVE, Currency("TRX", 6))}
    for code, contract in {"USDT": settings.tron_usdt_contract, **settings.signer_assets}.items():
        currency = currencies.get(code)
        if currency is None:
            raise _refuse(f"the setting CURRENCIES must name {code}, an asset of the signer (SIGNER_ASSETS)")
        found[code] = (contract, currency)
    return found


def _in_units(
    setting: str, most: Mapping[str, Decimal], assets: dict[str, tuple[str, Currency]]
) -> dict[str, int]:
    """Return a limit by asset in smallest units."""
    try:
        return {assets[code][0]: assets[code][1].to_units(amount) for code, amount in most.items()}
    except KeyError as error:
        raise _refuse(f"the setting {setting} names {error}, which is no asset of the signer") from error
    except AmountError as error:
        raise _refuse(f"the setting {setting} is not valid: {error}") from error


def build_limits(settings: SignerSettings) -> tuple[list[str], Limits]:
    """Return the contracts of the assets, and the limits."""
    assets = _assets(settings)
    contracts = [name for name, _ in assets.values() if name != NATIVE]
    return contracts, Limits(
        reference_age=timedelta(seconds=settings.signer_reference_age_s),
        fuel_per_hour_sun=settings.signer_fuel_per_hour_sun,
        payout_most=_in_units("SIGNER_PAYOUT_MOST", settings.signer_payout_most, assets),
        payout_per_day=_in_units("SIGNER_PAYOUT_PER_DAY", settings.signer_payout_per_day, assets),
        payout_tries=settings.signer_payout_tries,
    )


async def run_signer() -> None:
    """Serve the signer until SIGTERM; it alone reads the key file, once."""
    settings = load(SignerSettings)
    prepare("signer", settings)
    contracts, limits = build_limits(settings)
    database = Database(settings.signer_database_url, "signer", SIGNER_POOL_SIZE)
    watch_pool(lambda: database.in_use, SIGNER_POOL_SIZE)
    try:
        stored = await read_seed(database)
        if stored is None:
            raise _refuse(NO_SEED)
        try:
            signer = build_signer(stored, read_key(settings.payments_seed_key_file), contracts, settings)
        except KeyFileError as error:
            raise _refuse(error.detail) from error
        app = build_signer_app({"database": database.ping})
        app.state.callers = settings.service_callers
        app.state.signing = Signing(database, signer.signed, SystemClock(), limits)
        await serve(app, settings.signer_address, settings.signer_port, [], settings.drain_s)
    finally:
        await database.close()


def migrate() -> None:
    """Bring the database to the newest schema; the migrations want the signer's role."""
    settings = load(PaymentsMigrationSettings)
    own, signer = settings.payments_database_url, {"signer": settings.signer_database_url}
    migrate_database(MIGRATIONS, own, settings.database_owner_url, signer)


def command_database() -> Database:
    """Return the database for a command that works on payments' own rows."""
    return Database(load(PaymentsCommandSettings).payments_database_url, "payments-command", 2)


@asynccontextmanager
async def seed_command() -> AsyncIterator[tuple[Database, bytes]]:
    """Open the signer's database, and read the key file, for a command of the seed.

    Raises:
        KeyFileError: when the key file can't be used.
    """
    settings = load(SeedCommandSettings)
    key = read_key(settings.payments_seed_key_file)
    database = Database(settings.signer_database_url, "seed-command", 2)
    try:
        yield database, key
    finally:
        await database.close()


def command_currencies() -> Currencies:
    """Return the currencies, for a command that shows amounts."""
    return Currencies.parse(load(PaymentsSettings).currencies)


@asynccontextmanager
async def command_parts() -> AsyncIterator[Payments]:
    """Wire what the use cases share, for a command; the worker tells the events."""
    settings = load(PaymentsSettings)
    crash.arm("payments", settings.crash_point_file)
    async with AsyncExitStack() as stack:
        database = Database(settings.payments_database_url, "payments-command", 4)
        stack.push_async_callback(database.close)
        client = InternalClient(settings.accounts_url, settings.service_credential)
        stack.push_async_callback(client.close)
        yield build_parts(settings, stack, client, lambda: None, (database, await _root(database)))
