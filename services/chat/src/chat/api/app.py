"""The socket side as one application: its server, its rooms, its guard, and what runs beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from aiohttp import web

from chat.adapters.wire import BEAT_S, NatsWire
from chat.api.guard import GUARD_EVERY_S, Gone, Guard
from chat.api.http import EDGE
from chat.api.limits import Addresses, Limits, Network
from chat.api.presence import Presence
from chat.api.rooms import HEAL_EVERY_S, Rooms
from chat.api.server import Server
from chat.api.sockets import Admit, Sockets
from chat.domain.model import READ_ONLY_AFTER
from chat.use_cases.mark_read import Marks
from chat.use_cases.read_history import History
from chat.use_cases.read_states import read_states
from chat.use_cases.store_messages import Writer
from common.clock import SystemClock
from common.db import Database
from common.runner import Work, every

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator may set."""

    limits: Limits = DEFAULT_LIMITS
    trusted_proxies: Sequence[Network] = ()
    allowed_origins: str | Sequence[str] = "*"
    read_only_after: timedelta = READ_ONLY_AFTER
    lean: bool = True


@dataclass(frozen=True, slots=True)
class SocketSide:
    """The application, and the work that it needs done beside it."""

    app: web.Application
    rooms: Rooms
    sockets: Sockets
    work: Sequence[Work]


async def build_sockets(
    database: Database, wire: NatsWire, admit: Admit, gone: Gone, options: Options
) -> SocketSide:
    """Wire the socket side.

    Args:
        admit: returns a token's right to a chat.
        gone: tells which keys were revoked, and which tenants closed.
    """
    clock = SystemClock()
    addresses = Addresses(options.limits, options.trusted_proxies)
    server = Server(options.limits, addresses, lean=options.lean, cors_allowed_origins=options.allowed_origins)
    rooms = Rooms(wire, History(database).read, partial(read_states, database), Presence(wire.process))
    writer = Writer(database, clock, rooms.stored, options.read_only_after)
    sockets = Sockets(server, admit, writer, Marks(database, rooms.read), rooms, options.limits)
    guard = Guard(sockets, rooms, gone, clock)
    await wire.start(rooms.heard, rooms.announce, rooms.lost)
    app = web.Application(middlewares=EDGE, client_max_size=options.limits.frame_bytes)
    server.attach(app)
    work: list[Work] = [
        wire.run,
        lambda: every(HEAL_EVERY_S, "heal", rooms.heal),
        lambda: every(GUARD_EVERY_S, "guard", guard.look),
        lambda: every(BEAT_S, "beat", wire.beat),
    ]
    return SocketSide(app, rooms, sockets, work)
