"""The composition root of chat: settings → database, bus, deals → Socket.IO server and background work."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp import web

from chat.adapters.deals import HttpDeals
from chat.adapters.tokens import Ed25519Tokens
from chat.adapters.wire import NatsLive
from chat.api.http import add_health, add_invariants, problems
from chat.api.rooms import Rooms
from chat.api.sockets import Server, Sockets
from chat.consumers.deals import consumers, followed, handlers
from chat.domain.model import Admission
from chat.domain.ports import Deals, Tokens
from chat.settings import ChatCommandSettings, ChatSettings
from chat.use_cases.admit import admit
from chat.use_cases.check_invariants import check_invariants
from chat.use_cases.read_history import read_history
from chat.use_cases.store_messages import Writer
from common.bus import Bus
from common.clock import SystemClock
from common.db import Database
from common.internal import InternalClient
from common.migrate import upgrade
from common.outbox import Relay
from common.runner import DRAIN_S, prepare, run_until_signal
from common.settings import load
from common.upkeep import upkeep
from common.web import Check

MIGRATIONS = Path(__file__).parents[2] / "migrations"
SUBJECTS = ("chat.*",)


def build_app(
    database: Database,
    deals: Deals,
    tokens: Tokens,
    relay: Relay | None,
    ready: dict[str, Check],
    *,
    accept_plain: bool,
    allowed_origins: str = "*",
) -> web.Application:
    """Wire the Socket.IO server and return the application that holds it."""
    clock = SystemClock()
    origins: str | list[str] = allowed_origins if allowed_origins == "*" else allowed_origins.split(",")
    server = Server(cors_allowed_origins=origins)
    rooms = Rooms(server, lambda chat_id, after: read_history(database, chat_id, after))
    writer = Writer(database, clock, rooms.broadcast, relay.nudge if relay else lambda: None)

    async def enter(token: object) -> Admission:
        return await admit(database, deals, tokens, clock, token, accept_plain=accept_plain)

    Sockets(server, enter, writer.store, rooms)
    app = web.Application(middlewares=[problems], client_max_size=64 * 1024)
    add_health(app, ready)
    server.attach(app)
    return app


async def run() -> None:
    """Serve until SIGTERM."""
    settings = load(ChatSettings)
    prepare("chat", settings)
    async with AsyncExitStack() as stack:
        database = Database(settings.chat_database_url, "chat", settings.database_pool_size)
        stack.push_async_callback(database.close)
        bus = await Bus.connect(settings.nats_url, "chat")
        stack.push_async_callback(bus.close)
        client = InternalClient(settings.deals_url, settings.service_credential)
        stack.push_async_callback(client.close)
        relay = Relay(settings.chat_database_url, "chat", bus)
        await bus.declare_stream("CHAT", SUBJECTS)
        producers = followed(client)
        app = build_app(
            database,
            HttpDeals(client),
            Ed25519Tokens(settings.chat_token_public_key),
            relay,
            {"database": database.ping, "nats": bus.ping},
            accept_plain=settings.chat_accept_plain_chat_id,
            allowed_origins=settings.chat_allowed_origins,
        )

        async def check() -> dict[str, Any]:
            return await check_invariants(database, SystemClock(), producers)

        add_invariants(app, settings.service_callers, check)
        handling = handlers(database, NatsLive(bus))
        work = [bus.until_closed, relay.run, *consumers(bus, database, handling)]
        work += upkeep(database, check, settings.invariants_interval_s, producers, handling)

        async def serving(stop: asyncio.Event) -> None:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_S)
            await runner.setup()
            try:
                await web.TCPSite(runner, settings.listen_address, settings.chat_port).start()
                await stop.wait()
            finally:
                await runner.cleanup()

        await run_until_signal(serving, work)


def migrate() -> None:
    """Bring the database to the newest schema."""
    upgrade(MIGRATIONS, load(ChatCommandSettings).chat_database_url)
