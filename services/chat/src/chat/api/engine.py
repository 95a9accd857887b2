"""The Engine.IO server: which connections there are, the address that each comes from, and who is kept out.

It overrides python-engineio's as `chat.api.lean` does, for the same version.
"""

import asyncio
from typing import Any

import engineio
from aiohttp import web
from engineio import exceptions, packet

from chat.api.lean import LeanSocket, PlainWebSocket, Socket
from chat.api.limits import Addresses
from chat.api.metrics import REFUSED
from chat.domain.errors import RateLimited
from common.logging import get_logger

log = get_logger()

REFUSED_AFTER_S = 0.5
MOST_REFUSED_AT_ONCE = 1_000
"""So many wait that long until they hear that they may not connect: who tries again at once is slowed down."""
REFUSED_FOR_S = 60.0
"""What an address is told that may not connect."""


class Engine(engineio.AsyncServer):  # type: ignore[misc]  # python-engineio ships no types
    """python-engineio's server with our connections, which knows the address that each comes from.

    Args:
        lean: whether WebSockets are written to directly.
        addresses: counts connections, and says which may not connect.
    """

    start_service_task: bool
    _async: dict[str, Any]

    def __init__(self, *, lean: bool, addresses: Addresses, **settings: Any) -> None:
        super().__init__(monitor_clients=not lean, **settings)  # a lean connection has a timer of its own
        self._socket_class = LeanSocket if lean else Socket
        self._addresses = addresses
        self._refusing = 0
        self._async = {**self._async, "websocket": PlainWebSocket}

    async def handle_request(self, request: web.Request) -> Any:
        """Handle a request of any transport."""
        socket: Socket | None = self.sockets.get(request.query.get("sid", ""))
        try:
            response = await super().handle_request(request)
        except OSError as error:  # of the client's wire: it has gone, or asks for a second upgrade
            log.debug("chat.wire_failed", error=repr(error))
            return web.Response(status=400)
        if socket is not None and socket.broken and request.method == "POST":
            response.set_status(400)  # upstream says that all is well
        return response

    def address_of(self, request: web.Request) -> str:
        """Return the address that a request comes from."""
        return self._addresses.of(request.remote, request.headers.get("x-forwarded-for"))

    async def _handle_connect(
        self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None
    ) -> Any:
        """Open a connection, as upstream does, with a socket of our class, or refuse one that is too many.

        It is asked here, where each connection passes: of what a query holds upstream has a reading of its own.
        """
        request: web.Request = environ["aiohttp.request"]
        address = self.address_of(request)
        refusal = self._addresses.refusal(address)
        if refusal is not None:
            await self._slow_down()
            raise RateLimited(refusal, REFUSED_FOR_S)
        if self.start_service_task:
            self.start_service_task = False
            self.service_task_handle = self.start_background_task(self._service_task)
        sid = self.generate_id()
        socket = self.sockets[sid] = self._socket_class(self, sid, request, address)
        self._addresses.enter(socket.address)
        try:
            await socket.send(packet.Packet(packet.OPEN, self._opening(sid, transport)))
            await self._trigger_event("connect", sid, environ, run_async=False)
            socket.schedule_ping()
            if transport == "websocket":
                return await socket.handle_get_request(environ)
            socket.connected = True
            return self._ok(await socket.poll(), jsonp_index=jsonp_index)
        except exceptions.QueueEmpty:
            return self._bad_request()
        finally:
            if not socket.connected:  # the upgrade failed: no WebSocket has ended
                await socket.close(wait=False, abort=True)

    async def pause(self, address: str, packets: int = 1) -> None:
        """Read a client no further for a moment: what is ignored or refused takes no turn from the others."""
        await asyncio.sleep(self._addresses.pause_s(address, packets))

    async def _slow_down(self) -> None:
        if self._refusing < MOST_REFUSED_AT_ONCE:
            self._refusing += 1
            try:
                await asyncio.sleep(REFUSED_AFTER_S)
            finally:
                self._refusing -= 1

    def _opening(self, sid: str, transport: str) -> dict[str, Any]:
        return {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }

    def forget(self, sid: str) -> None:
        """Drop a connection that has ended."""
        socket = self.sockets.pop(sid, None)
        if socket is not None:
            self._addresses.leave(socket.address)

    def offended(self, sid: str) -> None:
        """Note that a client was refused or sent what it should not."""
        socket = self.sockets.get(sid)
        if socket is not None:
            self._addresses.offended(socket.address)

    async def end_if_banned(self, sid: str) -> None:
        """End the connection of a client that was refused, where its address was refused too often."""
        socket = self.sockets.get(sid)
        if socket is not None and self._addresses.banned(socket.address):
            await socket.close(wait=False)

    async def malformed(self, sid: str, limit: str = "malformed") -> None:
        """End a connection whose client sends what the protocol does not know, or more than a limit allows."""
        REFUSED.labels(limit).inc()
        self.offended(sid)
        await self.end(sid)

    def wrong_frame(self, address: str, *, too_long: bool) -> None:
        """Note that an address sent a message that is too long, or what WebSocket does not know: it was ended."""
        REFUSED.labels("frame" if too_long else "malformed").inc()
        self._addresses.offended(address)

    async def end(self, sid: str) -> None:
        """End a connection without waiting for its client, which may be the one that waits for us."""
        socket = self.sockets.get(sid)
        if socket is not None:
            await socket.close(wait=False)
