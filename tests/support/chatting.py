"""A chat server in the test's own process, on real PostgreSQL, and clients for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import socketio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from socketio.exceptions import ConnectionError as SocketError

from chat.adapters.accounts import HttpKeys
from chat.adapters.deals import HttpDeals
from chat.adapters.tokens import Ed25519Tokens
from chat.adapters.wire import NatsWire
from chat.api.app import Options, SocketSide, build_sockets
from chat.api.http import add_health
from chat.api.messages import add_messages
from chat.use_cases.admit import Door
from chat.use_cases.check_keys import Standings
from chat.use_cases.read_messages import read_messages
from common.broadcasts import Broadcasts
from common.clock import SystemClock
from common.db import Database
from common.ids import new_uuid
from common.internal import InternalClient
from support.house import CALLERS, USDT, House, Wire
from support.servers import free_port
from support.waiting import eventually

PUBLIC_KEY = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32).public_key().public_bytes_raw().hex()


class Nobody:
    """The way to those who are in a chat (`chat.domain.ports.Live`), where nobody listens."""

    async def tell(self, chat_id: UUID, kind: str, bodies: Sequence[dict[str, object]]) -> None:
        """Tell nobody."""


DEFAULT = Options()
NOTHING_ELSE: Mapping[str, Callable[[Any], None]] = {}


async def _cancelled(work: "Sequence[asyncio.Task[None]]") -> None:
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


class Refused(Exception):
    """The server refused the connection; the text holds its words."""


@dataclass(slots=True)
class Listener:
    """A connected client and all that it heard."""

    client: socketio.AsyncClient
    heard: list[dict[str, Any]] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def seqs(self) -> list[int]:
        """The sequence numbers in the order they were heard."""
        return [message["seq"] for message in self.heard]

    async def say(self, user_id: int | None, text: str) -> dict[str, Any]:
        """Send a message and return its acknowledgement."""
        answer: dict[str, Any] = await self.client.call(
            "message", {"user_id": user_id, "message": text}, timeout=20
        )
        return answer

    async def until(self, count: int) -> list[int]:
        """Wait until so many messages were heard; return their sequence numbers."""

        async def heard() -> list[int]:
            return self.seqs

        return await eventually(heard, lambda seqs: len(seqs) >= count)


async def listen(
    url: str,
    token: Any,
    *,
    transports: tuple[str, ...] = ("websocket",),
    auth: Any = None,
    on: Mapping[str, Callable[[Any], None]] = NOTHING_ELSE,
) -> Listener:
    """Connect a client; raises `Refused` with the server's words.

    Args:
        on: what takes other events than messages, by their names.
    """
    client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
    listener = Listener(client)
    for name, take in {"message": listener.heard.append, **on}.items():
        client.on(name, take)
    client.on("disconnect", lambda *_: listener.closed.set())
    words: list[Any] = []
    client.on("connect_error", words.append)
    try:
        await client.connect(
            url, auth={"token": token} if auth is None else auth, transports=list(transports), wait_timeout=10
        )
    except SocketError as error:
        await leave(client)
        raise Refused(str(words)) from error
    return listener


async def leave(client: socketio.AsyncClient) -> None:
    """Disconnect a client; upstream leaves the session of a connection that failed open."""
    await client.shutdown()
    session = client.eio.http
    if session is not None and not session.closed:
        await session.close()


@dataclass(slots=True)
class ChatHouse:
    """The house with its chat."""

    house: House
    url: str
    database: Database
    side: SocketSide
    deals_wire: Wire
    accounts_wire: Wire
    listeners: list[Listener] = field(default_factory=list)

    async def listen(self, token: Any, **more: Any) -> Listener:
        """Connect a client that is closed at the end of the test."""
        listener = await listen(self.url, token, **more)
        self.listeners.append(listener)
        return listener

    async def chat(self) -> tuple[str, int, int, int]:
        """Create a deal; return its chat's id, the customer, the performer, and the deal."""
        alice, bob = await self.house.user(1, "Alice"), await self.house.user(2, "Bob")
        deal = await self.house.deal(alice, bob)
        return deal["chat_id"], alice, bob, deal["deal_id"]

    async def dispute(self, deal_id: int, customer: int) -> None:
        """Pay a deal and open a dispute about it."""
        await self.house.credit(customer, 10 * USDT, f"tron:{deal_id:x}:0")
        assert (await self.house.act(deal_id, "confirm")).status_code == 200
        about = {"title": "Late", "description": "Never delivered"}
        answer = await self.house.call("deals", "POST", f"/deal/{deal_id}/dispute", about)
        assert answer.status_code == 200, answer.text

    async def token(self, deal_id: int, user_id: int | None, key: str = "default") -> str:
        """Return a participant token."""
        answer = await self.house.call("deals", "POST", f"/deal/{deal_id}/chat_token", {"user_id": user_id}, key)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])


@asynccontextmanager
async def build_chat(
    house: House, nats_url: str, *, accept_plain: bool = True, options: Options = DEFAULT
) -> AsyncIterator[ChatHouse]:
    """Serve the chat of a house on a port of its own."""
    async with AsyncExitStack() as stack:
        database = Database(house.databases.url("chat"), "chat-test", 10)
        stack.push_async_callback(database.close)
        deals_wire = Wire(house.deals)
        client = InternalClient("http://deals", CALLERS["chat"], transport=deals_wire)
        stack.push_async_callback(client.close)
        accounts_wire = Wire(house.accounts)
        asking_accounts = InternalClient("http://accounts", CALLERS["chat"], transport=accounts_wire)
        stack.push_async_callback(asking_accounts.close)
        broadcasts = await Broadcasts.connect(nats_url, "chat-test")
        stack.push_async_callback(broadcasts.close)
        deals, tokens = HttpDeals(client), Ed25519Tokens(PUBLIC_KEY)

        keys = HttpKeys(asking_accounts)
        door = Door(database, deals, tokens, Standings(keys), SystemClock(), accept_plain)
        wire = NatsWire(broadcasts, new_uuid().hex)
        side = await build_sockets(database, wire, door.admit, keys.ended, options)
        add_messages(side.app, house.deals.state.verifier, partial(read_messages, database, deals))
        add_health(side.app, {"rooms": side.rooms.check})
        work = [asyncio.ensure_future(do()) for do in side.work]
        stack.push_async_callback(_cancelled, work)
        runner = web.AppRunner(side.app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        built = ChatHouse(house, f"http://127.0.0.1:{port}", database, side, deals_wire, accounts_wire)
        try:
            yield built
        finally:
            # A polling client waits for its last poll; nothing that it could still hear is of interest.
            for listener in built.listeners:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(listener.client.shutdown(), 1)


async def a_long_history(house: ChatHouse, count: int) -> None:
    """Store many long messages behind the chat's back."""
    await house.house.execute(
        "chat",
        f"WITH c AS (UPDATE chat SET last_seq = {count} RETURNING id, customer_id)"
        " INSERT INTO message (chat_id, seq, user_id, role, text, created_at)"
        f" SELECT id, n, customer_id, 'customer', repeat('x', 4000), now() FROM c, generate_series(1, {count}) n",
    )


async def in_room(house: ChatHouse, chat_id: str, count: int) -> None:
    """Return when so many clients are in the room of a chat: a client is connected a little earlier."""

    async def links() -> int:
        room = house.side.rooms.find(UUID(chat_id))
        return len(room.links) if room is not None else 0

    await eventually(links, lambda found: found == count)


async def told(house: ChatHouse, token: str, name: str) -> tuple[Listener, list[Any]]:
    """Connect a client that keeps the events of one name."""
    found: list[Any] = []
    return await house.listen(token, on={name: found.append}), found


async def until_told(found: list[Any], last: Any) -> list[Any]:
    """Wait until that is what came last; return all that came."""

    async def look() -> list[Any]:
        return found

    return await eventually(look, lambda told: bool(told) and told[-1] == last)


def there(*roles: str) -> dict[str, bool]:
    """Return what clients are shown when these roles are there, and no other."""
    return {role: role in roles for role in ("customer", "performer", "arbiter")}
