"""The composition root of chat: settings → database, bus, deals → Socket.IO server and background work."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from aiohttp import web

from chat.adapters.deals import HttpDeals
from chat.adapters.tokens import Ed25519Tokens
from chat.adapters.wire import NatsLive, NatsWire
from chat.api.app import Options, build_sockets
from chat.api.http import add_health, add_invariants
from chat.api.limits import Limits
from chat.consumers.deals import consumers, followed, handlers
from chat.domain.model import Admission
from chat.settings import ChatMigrationSettings, ChatSettings
from chat.use_cases.admit import admit
from chat.use_cases.check_invariants import check_invariants
from common.broadcasts import Broadcasts
from common.bus import Bus
from common.clock import SystemClock
from common.db import Database
from common.election import Elected
from common.ids import new_uuid
from common.internal import InternalClient
from common.metrics import watch_pool
from common.migrate import migrate_database
from common.outbox import Relay
from common.runner import prepare, run_until_signal
from common.settings import load
from common.upkeep import upkeep

MIGRATIONS = Path(__file__).parents[2] / "migrations"
SUBJECTS = ("chat.*",)
CLOSE_S = 2.0
"""How long a request may still take once every client is gone."""


async def run() -> None:
    """Serve until SIGTERM."""
    settings = load(ChatSettings)
    prepare("chat", settings)
    async with AsyncExitStack() as stack:
        database = Database(settings.chat_database_url, "chat", settings.database_pool_size)
        watch_pool(lambda: database.in_use, settings.database_pool_size)
        stack.push_async_callback(database.close)
        bus = await Bus.connect(settings.nats_url, "chat")
        stack.push_async_callback(bus.close)
        client = InternalClient(settings.deals_url, settings.service_credential)
        stack.push_async_callback(client.close)
        relay = Relay(settings.chat_database_url, "chat", bus)
        await bus.declare_stream("CHAT", SUBJECTS)
        producers = followed(client)
        broadcasts = await Broadcasts.connect(settings.nats_url, "chat-rooms")
        stack.push_async_callback(broadcasts.close)
        deals, tokens = HttpDeals(client), Ed25519Tokens(settings.chat_token_public_key)
        accept_plain = settings.chat_accept_plain_chat_id

        async def enter(token: object) -> Admission:
            return await admit(database, deals, tokens, SystemClock(), token, accept_plain=accept_plain)

        async def gone(keys: Collection[int], tenants: Collection[int]) -> tuple[Collection[int], Collection[int]]:
            return (), ()

        wire = NatsWire(broadcasts, new_uuid().hex)
        side = await build_sockets(database, wire, enter, gone, relay.nudge, _options(settings))
        app = side.app
        add_health(app, {"database": database.ping, "nats": bus.ping, "rooms": side.rooms.check})

        async def check() -> dict[str, Any]:
            return await check_invariants(database, SystemClock(), producers)

        add_invariants(app, settings.service_callers, check)
        handling = handlers(database, NatsLive(bus))
        work = [bus.until_closed, relay.run, *side.work, *consumers(bus, database, handling)]
        jobs = upkeep(database, check, settings.invariants_interval_s, producers, handling)
        work.append(Elected(settings.chat_database_url, "chat-jobs", jobs).run)

        async def serving(stop: asyncio.Event) -> None:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S)
            await runner.setup()
            try:
                await web.TCPSite(runner, settings.listen_address, settings.chat_port).start()
                await stop.wait()
                await side.sockets.close(settings.drain_s)
            finally:
                await runner.cleanup()

        await run_until_signal(serving, work)


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
        lean=settings.chat_lean,
    )


def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = load(ChatMigrationSettings)
    migrate_database(MIGRATIONS, settings.chat_database_url, settings.database_owner_url)
