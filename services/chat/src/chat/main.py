"""The composition root of chat: settings → database, bus, deals, accounts → server and background work."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from aiohttp import web

from chat.adapters.accounts import HttpKeys
from chat.adapters.deals import HttpDeals
from chat.adapters.tokens import Ed25519Tokens
from chat.adapters.wire import NatsLive, NatsWire
from chat.api.app import Options, SocketSide, build_sockets
from chat.api.http import EDGE, add_health, add_invariants
from chat.api.limits import Limits
from chat.api.messages import add_messages
from chat.api.sockets import Sockets
from chat.consumers.deals import consumers, followed, handlers
from chat.settings import ChatCommandSettings, ChatMigrationSettings, ChatSettings
from chat.use_cases.admit import Door
from chat.use_cases.check_invariants import check_invariants
from chat.use_cases.check_keys import Standings
from chat.use_cases.read_messages import read_messages
from chat.use_cases.tell_messages import TELL_EVERY_S, tell_messages
from common.auth import CachedVerifier
from common.broadcasts import Broadcasts
from common.bus import Bus
from common.clock import SystemClock
from common.db import Database
from common.election import Elected
from common.gaps import Followed
from common.ids import new_uuid
from common.internal import InternalClient, RemoteKeys
from common.metrics import watch_pool
from common.migrate import migrate_database
from common.outbox import Relay
from common.runner import Work, every, prepare, run_until_signal
from common.settings import load
from common.upkeep import upkeep
from common.web import Check

MIGRATIONS = Path(__file__).parents[2] / "migrations"
SUBJECTS = ("chat.*",)
CLOSE_S = 1.0
"""How long a request may still take once every client is gone, and then to heed that it is cut off."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What every mode stands on."""

    settings: ChatSettings
    database: Database
    bus: Bus
    deals: InternalClient
    accounts: InternalClient
    relay: Relay
    producers: Sequence[Followed]

    async def check(self) -> dict[str, Any]:
        """Prove the invariants."""
        every = timedelta(seconds=self.settings.invariants_interval_s)
        return await check_invariants(self.database, SystemClock(), self.producers, every)

    @property
    def ready(self) -> dict[str, Check]:
        """What has to be there."""
        return {"database": self.database.ping, "nats": self.bus.ping}


async def run(mode: str) -> None:
    """Serve Socket.IO and HTTP (`api`), work in the background (`worker`), or both (`serve`), until SIGTERM."""
    settings = load(ChatSettings)
    prepare("chat", settings)
    async with AsyncExitStack() as stack:
        parts = await _connect(settings, stack)
        work: list[Work] = [parts.bus.until_closed]
        if mode != "api":
            work += _background(parts)
        if mode == "worker":
            app = web.Application(middlewares=EDGE)
            add_health(app, parts.ready)
            await run_until_signal(partial(_serve, settings, app, None), work)
        else:
            side = await _build_side(parts, stack)
            await run_until_signal(partial(_serve, settings, side.app, side.sockets), [*work, *side.work])


async def _connect(settings: ChatSettings, stack: AsyncExitStack) -> Parts:
    database = Database(settings.chat_database_url, "chat", settings.database_pool_size)
    watch_pool(lambda: database.in_use, settings.database_pool_size)
    stack.push_async_callback(database.close)
    bus = await Bus.connect(settings.nats_url, "chat")
    stack.push_async_callback(bus.close)
    deals = InternalClient(settings.deals_url, settings.service_credential)
    stack.push_async_callback(deals.close)
    accounts = InternalClient(settings.accounts_url, settings.service_credential)
    stack.push_async_callback(accounts.close)
    await bus.declare_stream("CHAT", SUBJECTS)
    relay = Relay(settings.chat_database_url, "chat", bus)
    return Parts(settings, database, bus, deals, accounts, relay, followed(deals))


def _background(parts: Parts) -> list[Work]:
    """Return the work of a worker."""
    handling = handlers(parts.database, NatsLive(parts.bus))

    async def tell() -> None:
        if await tell_messages(parts.database):
            parts.relay.nudge()

    interval_s = parts.settings.invariants_interval_s
    jobs = [
        lambda: every(TELL_EVERY_S, "tell", tell),
        *upkeep(parts.database, parts.check, interval_s, parts.producers, handling),
    ]
    return [
        parts.relay.run,
        *consumers(parts.bus, parts.database, handling),
        Elected(parts.settings.chat_database_url, "chat-jobs", jobs).run,
    ]


async def _build_side(parts: Parts, stack: AsyncExitStack) -> SocketSide:
    """Wire what clients and marketplaces reach."""
    settings, database = parts.settings, parts.database
    broadcasts = await Broadcasts.connect(settings.nats_url, "chat-rooms")
    stack.push_async_callback(broadcasts.close)
    deals, tokens = HttpDeals(parts.deals), Ed25519Tokens(settings.chat_token_public_key)
    keys, accept_plain = HttpKeys(parts.accounts), settings.chat_accept_plain_chat_id
    door = Door(database, deals, tokens, Standings(keys), SystemClock(), accept_plain)
    wire = NatsWire(broadcasts, new_uuid().hex)
    side = await build_sockets(database, wire, door.admit, keys.ended, _options(settings))
    verifier = CachedVerifier(RemoteKeys(parts.accounts))
    await parts.bus.forget_revoked_keys(verifier)
    add_messages(side.app, verifier, partial(read_messages, database, deals))
    add_health(side.app, parts.ready | {"rooms": side.rooms.check})
    add_invariants(side.app, settings.service_callers, parts.check)
    return side


async def _serve(
    settings: ChatSettings, app: web.Application, sockets: Sockets | None, stop: asyncio.Event
) -> None:
    """Serve until the event is set, then let the sockets go before the server."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.listen_address, settings.chat_port).start()
        await stop.wait()
        if sockets is not None:
            await sockets.close(settings.drain_s - 2 * CLOSE_S)
    finally:
        await runner.cleanup()


def _options(settings: ChatSettings) -> Options:
    """Return what the socket side is told of the settings."""
    origins = settings.chat_allowed_origins
    return Options(
        limits=Limits(
            client_messages_per_s=settings.chat_client_messages_per_s,
            chat_messages_per_s=settings.chat_chat_messages_per_s,
            connections=settings.chat_connections,
            connections_per_chat=settings.chat_connections_per_chat,
            connections_per_address=settings.chat_connections_per_address,
            refusals_per_minute=settings.chat_refusals_per_minute,
            client_buffer_bytes=settings.chat_client_buffer_bytes,
            frame_bytes=settings.chat_frame_bytes,
        ),
        trusted_proxies=tuple(ip_network(n.strip()) for n in settings.chat_trusted_proxies.split(",") if n),
        allowed_origins=origins if origins == "*" else origins.split(","),
        read_only_after=timedelta(days=settings.chat_read_only_after),
        lean=settings.chat_lean,
    )


def command_database() -> Database:
    """Return the database for a command."""
    return Database(load(ChatCommandSettings).chat_database_url, "chat-command", 2)


def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = load(ChatMigrationSettings)
    migrate_database(MIGRATIONS, settings.chat_database_url, settings.database_owner_url)
