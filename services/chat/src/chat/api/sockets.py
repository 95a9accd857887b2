"""The Socket.IO edge: connects are admitted, `message` events stored, everything else is ignored.

What enters: Socket.IO v5 packets. What leaves: `message` events and acknowledgements. A client can't reach a
handler by another name than `message`: python-socketio would dispatch `42["connect", …]` to the connect handler.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import engineio
import socketio
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError as Refused

from chat.api.rooms import Rooms
from chat.domain.errors import NotAdmitted
from chat.domain.model import Admission, Draft, Message, draft
from common.errors import ServiceError
from common.ids import bind_request_id
from common.logging import get_logger, report

log = get_logger()

MAX_FRAME_BYTES = 64 * 1024
NAMESPACE = "/"
EVENT = "message"
BINARY_PACKETS = ("5", "6")
AUTHORIZATION_ERROR = "authorization error"

Admit = Callable[[object], Awaitable[Admission]]
Store = Callable[[Draft], Awaitable[Message]]


class Engine(engineio.AsyncServer):  # type: ignore[misc]  # python-engineio ships no types
    """python-engineio's server, which remembers the connections that were upgraded from polling."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._upgraded: dict[str, asyncio.Transport] = {}

    async def handle_request(self, request: web.Request) -> Any:
        """Handle a request of any transport."""
        sid = request.query.get("sid")
        if sid is None or request.headers.get("upgrade", "").lower() != "websocket":
            return await super().handle_request(request)
        assert request.transport is not None
        self._upgraded[sid] = request.transport
        try:
            return await super().handle_request(request)
        finally:
            self._upgraded.pop(sid, None)

    def transport_of(self, sid: str, environ: dict[str, Any]) -> "asyncio.Transport | None":
        """Return the connection that a client's packets go through."""
        first: asyncio.Transport | None = environ["aiohttp.request"].transport
        return self._upgraded.get(sid, first)


class Server(socketio.AsyncServer):  # type: ignore[misc]  # python-socketio ships no types
    """python-socketio's server, which handles one client's packets in order and only the event `message`.

    Written for python-socketio 5.18 and python-engineio 4.15: `_handle_connect` answers the handshake, so what
    follows it comes after; a socket's `queue` holds what waits for its client.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            async_mode="aiohttp",
            async_handlers=False,  # handled by tasks, one client's messages overtake each other
            max_http_buffer_size=MAX_FRAME_BYTES,
            namespaces=[NAMESPACE],
            **settings,
        )
        self.joined: Callable[[str], Awaitable[None]] | None = None

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        if self.manager.sid_from_eio_sid(eio_sid, namespace or NAMESPACE) is not None:
            await self.eio.disconnect(eio_sid)  # a second CONNECT on one connection
            return
        await super()._handle_connect(eio_sid, namespace, data)
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or NAMESPACE)
        if sid is not None and self.manager.is_connected(sid, NAMESPACE) and self.joined is not None:
            await self.joined(sid)

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        # A binary packet announces attachments, which upstream collects in memory without a limit.
        if not isinstance(data, str) or data[:1] in BINARY_PACKETS:
            await self.eio.disconnect(eio_sid)
            return
        await super()._handle_eio_message(eio_sid, data)

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:  # noqa: A002 -- upstream's name
        if isinstance(data, list) and data and data[0] == EVENT:
            await super()._handle_event(eio_sid, namespace, id, data)

    def _queue(self, sid: str) -> "asyncio.Queue[Any] | None":
        socket = self.eio.sockets.get(self.manager.eio_sid_from_sid(sid, NAMESPACE))
        return socket.queue if socket is not None else None

    def waiting_packets(self, sid: str) -> int:
        """See `chat.api.rooms.Clients`."""
        queue = self._queue(sid)
        return queue.qsize() if queue is not None else 0

    async def drained(self, sid: str) -> None:
        """See `chat.api.rooms.Clients`."""
        queue = self._queue(sid)
        if queue is not None:
            await queue.join()

    async def cut_off(self, sid: str) -> None:
        """See `chat.api.rooms.Clients`. What waits for the client is dropped."""
        eio_sid = self.manager.eio_sid_from_sid(sid, NAMESPACE)
        socket, environ = self.eio.sockets.get(eio_sid), self.environ.get(eio_sid)
        if socket is None or environ is None:
            return
        transport = self.eio.transport_of(eio_sid, environ)
        await socket.close(wait=False, abort=True)
        if transport is not None:
            transport.abort()
        while not socket.queue.empty():
            socket.queue.get_nowait()
            socket.queue.task_done()


class Sockets:
    """The handlers of a server."""

    def __init__(self, server: Server, admit: Admit, store: Store, rooms: Rooms) -> None:
        self._server = server
        self._admit = admit
        self._store = store
        self._rooms = rooms
        server.on("connect", self.connect)
        server.on(EVENT, self.message)
        server.on("disconnect", self.leave)
        server.joined = self.join

    async def connect(self, sid: str, _: dict[str, Any], auth: Any = None) -> None:
        """Admit a client or refuse it; nothing is sent before the handshake is answered."""
        bind_request_id(None)
        try:
            admission = await self._admit(auth.get("token") if isinstance(auth, dict) else None)
        except NotAdmitted as error:
            raise Refused(AUTHORIZATION_ERROR) from error
        except ServiceError as error:
            raise Refused("temporarily unavailable") from error
        except Exception as error:
            log.error("chat.connect_failed", error=repr(error))
            report(error)
            raise Refused("temporarily unavailable") from error
        await self._server.save_session(sid, {"admission": admission})

    async def join(self, sid: str) -> None:
        """Send the history and enter the room; a failure ends the connection, so that the client tries again."""
        admission = await self._admission(sid)
        try:
            await self._rooms.join(sid, admission.chat.id)
        except Exception as error:
            log.warning("chat.join_failed", chat_id=str(admission.chat.id), error=repr(error))
            report(error)
            await self._server.disconnect(sid)

    async def leave(self, sid: str, *_: Any) -> None:
        """Forget a client that is gone."""
        admission = (await self._server.get_session(sid)).get("admission")
        if admission is not None:
            self._rooms.leave(sid, admission.chat.id)

    async def message(self, sid: str, *payload: Any) -> dict[str, Any]:
        """Store a message; the answer is the acknowledgement, for a client that asked for one."""
        bind_request_id(None)
        try:
            written = draft(await self._admission(sid), payload[0] if payload else None)
            stored = await self._store(written)
        except ServiceError as error:
            return {"error": error.code}
        return {"id": stored.id, "seq": stored.seq}

    async def _admission(self, sid: str) -> Admission:
        session = await self._server.get_session(sid)
        admission: Admission = session["admission"]
        return admission
