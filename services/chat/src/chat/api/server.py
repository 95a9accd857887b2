"""The Socket.IO server: one namespace, one client's packets in order, and no event reaches a handler but ours.

What enters: Engine.IO messages. What leaves: calls of the handlers. What never happens: an event by a reserved
name (python-socketio would dispatch `42["connect", …]` to the connect handler), binary attachments (which it
collects without a limit), a malformed packet that is survived.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import socketio

from chat.api.engine import Engine
from chat.api.lean import Malformed
from chat.api.limits import Addresses, Limits
from chat.api.metrics import ENDED
from common.logging import get_logger, report

log = get_logger()

NAMESPACE = "/"
CONNECT_S = 20.0
"""How long a client may stay without asking for the namespace."""
PING_INTERVAL_S = 25.0
PING_TIMEOUT_S = 20.0
MOST_LOGGED_PER_MINUTE = 10
PAUSED_BYTES = 8192
"""So many bytes cost a client as much as a packet does: they are read before anybody knows what they are."""

Handler = Callable[[str, Any, int | None], Awaitable[bool]]
"""Takes the connection, an event's first argument, and the number under which the client wants an answer.

Returns whether the client may go on at once: what is refused or ignored costs it a pause.
"""
Joined = Callable[[str], None]


class _AtMost(logging.Filter):
    """Lets a few records a minute through: what a stranger can cause must not fill the log."""

    def __init__(self) -> None:
        super().__init__()
        self._minute, self._count = 0, 0

    def filter(self, _: logging.LogRecord) -> bool:
        minute = int(time.monotonic() // 60)
        self._minute, self._count = minute, (self._count + 1 if minute == self._minute else 1)
        return self._count <= MOST_LOGGED_PER_MINUTE


_upstream_log = logging.getLogger("chat.upstream")
_upstream_log.setLevel(logging.ERROR)
_upstream_log.addFilter(_AtMost())


class Server(socketio.AsyncServer):  # type: ignore[misc]  # python-socketio ships no types
    """python-socketio's server for python-socketio 5.18: it answers the handshake, and events are handled here.

    Args:
        lean: whether WebSockets are written to directly; see `chat.api.lean`.
    """

    def __init__(self, limits: Limits, addresses: Addresses, *, lean: bool, **settings: Any) -> None:
        super().__init__(
            async_mode="aiohttp",
            max_http_buffer_size=limits.frame_bytes,
            namespaces=[NAMESPACE],
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            http_compression=False,
            logger=_upstream_log,
            engineio_logger=_upstream_log,
            lean=lean,
            addresses=addresses,
            **settings,
        )
        self._events: Mapping[str, Handler] = {}
        self._joined: Joined = lambda eio_sid: None
        self._unconnected: dict[str, asyncio.TimerHandle] = {}

    def handle(self, events: Mapping[str, Handler], joined: Joined) -> None:
        """Set the handlers of events by name, and what follows a handshake."""
        self._events, self._joined = events, joined

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        self._expect_connect(eio_sid, CONNECT_S)

    def _expect_connect(self, eio_sid: str, within_s: float) -> None:
        timer = asyncio.get_running_loop().call_later(within_s, self._never_connected, eio_sid)
        self._unconnected[eio_sid] = timer

    def _expect_connect_again(self, eio_sid: str) -> None:
        """Give a client that has left its chat as long as one that is new."""
        gone = eio_sid not in self.environ or eio_sid in self._unconnected
        if not gone and self.manager.sid_from_eio_sid(eio_sid, NAMESPACE) is None:
            self._expect_connect(eio_sid, CONNECT_S)

    def _never_connected(self, eio_sid: str) -> None:
        ENDED.labels("never_connected").inc()
        self.start_background_task(self.eio.end, eio_sid)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self._stop_waiting(eio_sid)
        try:
            await super()._handle_eio_disconnect(eio_sid, reason)
        finally:
            self.eio.forget(eio_sid)

    def _stop_waiting(self, eio_sid: str) -> float | None:
        """Return the seconds that the client had left, or None when it was not waited for."""
        timer = self._unconnected.pop(eio_sid, None)
        if timer is None:
            return None
        timer.cancel()
        return timer.when() - asyncio.get_running_loop().time()

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        if self.manager.sid_from_eio_sid(eio_sid, namespace or NAMESPACE) is not None:
            raise Malformed("a second CONNECT on one connection")
        left_s = self._stop_waiting(eio_sid)  # what the answer takes is not the client's time
        await super()._handle_connect(eio_sid, namespace, data)
        sid = self.manager.sid_from_eio_sid(eio_sid, NAMESPACE)
        connected = sid is not None and self.manager.is_connected(sid, NAMESPACE)
        if left_s is not None and not connected and eio_sid in self.environ:
            self._expect_connect(eio_sid, left_s)
        if (namespace or NAMESPACE) != NAMESPACE:  # it was refused, and says nothing of who is in a chat already
            self.eio.offended(eio_sid)
            await self.eio.end_if_banned(eio_sid)
            return
        if connected:
            self._joined(eio_sid)
        else:
            await self.eio.end_if_banned(eio_sid)

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        if eio_sid not in self.environ:
            return  # it came in the same body as what ended the connection
        try:
            if not isinstance(data, str) or data[:1] not in ("0", "1", "2"):
                raise Malformed("not a packet that a client sends: acknowledgements are not asked for")
            if data[0] == "2":
                wanted = await self._take_event(eio_sid, data)
            else:
                await super()._handle_eio_message(eio_sid, data)
                self._expect_connect_again(eio_sid)
                wanted = data[0] == "0"  # who asks for the namespace has waited for its answer
            if not wanted:
                await self._pause(eio_sid, 1 + len(data) // PAUSED_BYTES)
        except (Malformed, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            log.debug("chat.malformed", error=repr(error))
            await self.eio.malformed(eio_sid)
        except Exception as error:
            log.error("chat.packet_failed", error=repr(error))
            report(error)
            await self.eio.end(eio_sid)

    async def _pause(self, eio_sid: str, packets: int) -> None:
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None:
            await self.eio.pause(socket.address, packets)

    async def _take_event(self, eio_sid: str, data: str) -> bool:
        """Read `2[id]["name", argument, …]` and hand it on; return whether somebody took it.

        Raises:
            ValueError: when it is no event.
        """
        start = data.index("[")
        if data[1:2] == "/":
            return False  # of a namespace that nobody is connected to
        number = int(data[1:start]) if start > 1 else None
        arguments = _read_json(data[start:])
        if not arguments or not isinstance(arguments[0], str):
            raise Malformed("an event without a name")
        handler = self._events.get(arguments[0])
        if handler is None:
            return False
        return await handler(eio_sid, arguments[1] if len(arguments) > 1 else None, number)

    def end(self, eio_sid: str, reason: str) -> None:
        """Close a connection, so that its client connects anew: it hears no `disconnect` packet of Socket.IO."""
        ENDED.labels(reason).inc()
        self.start_background_task(self.eio.end, eio_sid)


def _read_json(text: str) -> Any:
    """Read JSON; half of a surrogate pair, which orjson does not take, is refused later and in words."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if "\\ud" not in text.lower():
            raise
        return json.loads(text)
