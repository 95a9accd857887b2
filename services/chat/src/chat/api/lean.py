"""Engine.IO connections: strict ones that go python-engineio's way, and lean ones that leave out what it costs.

Upstream gives each packet to a queue, a task and a timer per connection. A lean connection writes a frame straight
to its transport, reads without a task per frame, and has one timer (ADR 0018 says what that is worth). While a
client polls, both go upstream's way.

Written for python-engineio 4.15 and aiohttp 3.14. `test_upstream.py` fails when what is overridden here changed
its shape there; the setting CHAT_LEAN turns the lean path off.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web
from engineio import exceptions, packet, payload
from engineio.async_drivers.aiohttp import WebSocket
from engineio.async_socket import AsyncSocket

from chat.api.metrics import REFUSED
from chat.api.packets import Bundle, frame

if TYPE_CHECKING:
    from chat.api.engine import Engine

CLOSE_S = 5.0
"""How long a closed connection may take to read what was sent to it before."""
POST_S = 20.0
"""How long a body may take to come."""
CLOSING = b"\x88\x02" + int(WSCloseCode.OK).to_bytes(2)


# As many packets as fit into a body: upstream's 16 are fewer than a polling client sends at once.
payload.Payload.max_decode_packets = 10_000


class Malformed(Exception):
    """A client sent what the protocol does not know; its connection ends."""


class PlainWebSocket(WebSocket):  # type: ignore[misc]  # python-engineio ships no types
    """A WebSocket without permessage-deflate, which costs 100 KiB a connection and which browsers offer."""

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        """Answer the upgrade and serve the connection."""
        most, request = self.server.max_http_buffer_size, environ["aiohttp.request"]
        self._address = self.server.address_of(request)
        self._sock = web.WebSocketResponse(max_msg_size=most, compress=False, autoping=False)
        await self._sock.prepare(request)
        self.environ = environ
        await self.handler(self)
        return self._sock

    async def next(self) -> WSMessage:
        """Return the next message, or what ends the connection; pings of a WebSocket are answered in between."""
        assert self._sock is not None
        while (message := await self._sock.receive()).type in (WSMsgType.PING, WSMsgType.PONG):
            if message.type is WSMsgType.PING:
                with contextlib.suppress(ConnectionError):  # the next message says that it is gone
                    await self._sock.pong(message.data)
            await self.server.pause(self._address)
        error = message.data if message.type is WSMsgType.ERROR else None
        if isinstance(error, WebSocketError):
            self.server.wrong_frame(self._address, too_long=error.code == WSCloseCode.MESSAGE_TOO_BIG)
        return message

    async def wait(self) -> str | bytes:
        """Return the next message.

        Raises:
            OSError: when the connection ends.
        """
        data = (await self.next()).data
        if not isinstance(data, str | bytes):
            raise OSError("the connection has ended")
        return data

    async def say(self, packet: str) -> None:
        """Send a packet."""
        assert self._sock is not None
        await self._sock.send_str(packet)


class Socket(AsyncSocket):  # type: ignore[misc]  # python-engineio ships no types
    """A connection on upstream's path, which a malformed packet ends."""

    closed: bool
    closing: bool
    upgraded: bool
    connected: bool
    last_ping: float | None

    def __init__(self, server: "Engine", sid: str, request: web.Request, address: str) -> None:
        super().__init__(server, sid)
        self.request = request
        self.address = address
        self.broken = False
        self._queued_bytes = 0
        self._polled = False
        self._posted_to = False
        self._upgrade_asked = False

    def write(self, bundle: Bundle) -> int:
        """Hand packets to the connection without waiting; return about how many bytes wait for the client."""
        if self.queue.empty():
            self._queued_bytes = 0
        self._queued_bytes += bundle.size
        for one in bundle.packets:
            self.queue.put_nowait(one.queued)
        return self._queued_bytes

    async def drained(self) -> None:
        """Return once nothing waits for the client."""
        await self.queue.join()

    def abort(self) -> None:
        """End the connection at once; what waits for the client is dropped."""
        while not self.queue.empty():
            self.queue.get_nowait()
            self.queue.task_done()
        if not self.upgraded:  # a proxy may carry others' requests where this client's came from
            self.server.start_background_task(self.close, wait=False)
        elif self.request.transport is not None:
            self.request.transport.abort()

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """End the connection as when its wire breaks; a client that does not close its WebSocket then is cut off.

        A CLOSE packet is not sent: python-socketio's client does not connect anew after it.
        """
        if self.closed or self.closing:
            return
        await super().close(wait=False, abort=True, reason=reason)
        # It ends the writer, or the poll that is under way.
        self.queue.put_nowait(None if self.upgraded else packet.Packet(packet.NOOP))
        if self.upgraded:
            asyncio.get_running_loop().call_later(CLOSE_S, self.abort)

    async def receive(self, pkt: packet.Packet) -> None:
        """Take a packet; what is malformed ends the connection, as does an UPGRADE where none is under way."""
        try:
            if pkt.packet_type == packet.UPGRADE:  # upstream puts an answer into the queue, however long it is
                raise exceptions.UnknownPacketError
            asked_for = self.last_ping is not None
            await super().receive(pkt)
            if pkt.packet_type == packet.PONG and not asked_for:
                await self.server.pause(self.address)
        except (exceptions.UnknownPacketError, IndexError):
            await self.server.malformed(self.sid)

    async def poll(self) -> list[packet.Packet]:
        """Wait for packets; whoever polls twice at once would get them in no order, or on a wire that is dead.

        Raises:
            EngineIOError: when somebody waits for them already; the session ends.
        """
        if self._polled:
            REFUSED.labels("polls").inc()
            raise exceptions.EngineIOError("a poll beside another one")
        self._polled = True
        try:
            polled: list[packet.Packet] = await super().poll()
        finally:
            self._polled = False
        return polled

    async def _upgrade_websocket(self, environ: dict[str, Any]) -> Any:
        """Serve a WebSocket: the only one of the session, and its wire from then on."""
        if self._upgrade_asked or self.upgraded:
            raise OSError("one upgrade at a time, and one in all")
        self._upgrade_asked = True
        polling, self.request = self.request, environ["aiohttp.request"]
        try:
            return await super()._upgrade_websocket(environ)
        finally:
            self._upgrade_asked = False
            if not self.upgraded:  # the session goes on polling: while it upgrades, a poll gets nothing
                self.upgrading = False
                self.request = polling

    async def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Take what a polling client posts; when it is malformed, too much or not whole, the connection ends.

        So it does when it comes beside another body: of two the order is unknown, and many would fill the memory.
        """
        if self._posted_to:
            REFUSED.labels("posts").inc()
            self.broken = True
            await self.close(wait=False)
            return
        self._posted_to = True
        try:
            await self._take_body(environ)
        finally:
            self._posted_to = False

    async def _take_body(self, environ: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(POST_S):
                body = await self._body(environ["aiohttp.request"])
            for one in payload.Payload(encoded_payload=body.decode()).packets:
                if self.closed:
                    return  # each packet may cost a pause, and nobody waits for the rest
                await self.receive(one)
        except exceptions.ContentTooLongError:
            self.broken = True
            await self.server.malformed(self.sid, "frame")
        except (ValueError, IndexError, KeyError):
            self.broken = True
            await self.server.malformed(self.sid)
        except (OSError, web.RequestPayloadError):  # it never came to its end, or not in time
            self.broken = True
            await self.close(wait=False)

    async def _body(self, request: web.Request) -> bytes:
        """Read a body to its end: upstream takes what has come by now for all of it.

        Raises:
            ContentTooLongError: when it is longer than it may be.
        """
        body = bytearray()
        while part := await request.content.readany():
            body += part
            if len(body) > self.server.max_http_buffer_size:
                raise exceptions.ContentTooLongError
        return bytes(body)

    async def _websocket_handler(self, ws: PlainWebSocket) -> None:
        try:
            await super()._websocket_handler(ws)
        except (ValueError, IndexError):  # what upstream can't read
            await self.server.malformed(self.sid)


class LeanSocket(Socket):
    """A connection that is written to and read from directly, once it is a WebSocket."""

    def __init__(self, server: "Engine", sid: str, request: web.Request, address: str) -> None:
        super().__init__(server, sid, request, address)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def write(self, bundle: Bundle) -> int:
        """See `Socket.write`."""
        transport = self._transport
        if transport is None:
            return super().write(bundle)
        if transport.is_closing():
            return 0
        transport.write(bundle.frames)
        return transport.get_write_buffer_size()

    async def drained(self) -> None:
        """See `Socket.drained`."""
        protocol = self.request.protocol
        if self._transport is None:
            await super().drained()
        elif protocol.connected and protocol.writing_paused:
            # All who wait share one future, which must not end with one of them.
            await asyncio.shield(protocol._drain_helper())

    def abort(self) -> None:
        """See `Socket.abort`."""
        if self._transport is None:
            super().abort()
        else:
            self._transport.abort()

    async def send(self, pkt: packet.Packet) -> None:
        """Send a packet of upstream's making."""
        if self._transport is None:
            await super().send(pkt)
        elif not self._transport.is_closing():
            self._transport.write(frame(pkt.encode().encode()))

    def schedule_ping(self) -> None:
        """Ask after an interval whether the client is there, and end the connection when it does not answer."""
        self.last_ping = None
        self._next(self.server.ping_interval, self._ping)

    def _next(self, seconds: float, step: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, step)

    def _ping(self) -> None:
        self.last_ping = time.time()
        if self._transport is None:
            self.queue.put_nowait(packet.Packet(packet.PING))
        elif not self._transport.is_closing():
            self._transport.write(frame(b"2"))
        self._next(self.server.ping_timeout, self._silent)

    def _silent(self) -> None:
        self.server.start_background_task(
            self.close, wait=False, abort=True, reason=self.server.reason.PING_TIMEOUT
        )
        self.abort()

    async def _websocket_handler(self, ws: PlainWebSocket) -> None:
        if self.connected and not await self._upgraded(ws):
            return
        self.connected = self.upgraded = True
        transport = self.request.transport
        if transport is None:  # the client is gone already
            await self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_CLOSE)
            return
        # No await from here on until packets go to the transport: none is overtaken.
        while not self.queue.empty():
            waiting = self.queue.get_nowait()
            self.queue.task_done()
            if waiting is not None and waiting.packet_type != packet.NOOP:
                transport.write(frame(waiting.encode().encode()))
        self._transport = transport
        try:
            await self._read(ws)
        except Malformed:
            await self.server.malformed(self.sid)
        finally:
            await self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_CLOSE)
            transport.close()

    async def _upgraded(self, ws: PlainWebSocket) -> bool:
        """Go from polling to this WebSocket (Engine.IO v4); what is sent meanwhile waits in the queue."""
        if await self._said(ws) != "2probe":
            return False
        self.upgrading = True
        await ws.say("3probe")
        self.queue.put_nowait(packet.Packet(packet.NOOP))  # it ends the poll that is under way
        self.upgrading = await self._said(ws) == "5"
        upgraded, self.upgrading = self.upgrading, False
        return upgraded

    async def _said(self, ws: PlainWebSocket) -> object:
        try:
            async with asyncio.timeout(self.server.ping_timeout):
                return (await ws.next()).data
        except TimeoutError:
            return None

    async def _read(self, ws: PlainWebSocket) -> None:
        """Take packets until the connection ends.

        Raises:
            Malformed: when the client sends what is no packet.
        """
        take: Callable[[str, str], Awaitable[None]] = self.server.handlers["message"]
        while not self.closed:
            message = await ws.next()
            if message.type is WSMsgType.BINARY:
                raise Malformed("a binary message")
            if message.type is not WSMsgType.TEXT:
                return
            text: str = message.data
            kind = text[:1]
            if kind == "4":
                await take(self.sid, text[1:])
            elif kind == "3":
                asked_for = self.last_ping is not None
                self.schedule_ping()
                if not asked_for:
                    await self.server.pause(self.address)
            elif kind == "1":
                await self.close(wait=False, abort=True, reason=self.server.reason.CLIENT_DISCONNECT)
                return
            else:
                raise Malformed("an unknown packet")

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """See `Socket.close`: the client reads what it was sent before."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is None:
            await super().close(wait, abort, reason)
            return
        if self.closed or self.closing:
            return
        self.closing = True
        reason = reason or self.server.reason.SERVER_DISCONNECT
        await self.server._trigger_event("disconnect", self.sid, reason, run_async=False)
        self.closed = True
        if not abort and not self._transport.is_closing():
            self._transport.write(CLOSING)
            self._transport.close()
            self._next(CLOSE_S, self._transport.abort)
