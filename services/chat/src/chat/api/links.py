"""A link: one admitted client, what it may still ask for, and its way back to it."""

import asyncio
import contextlib
import time
from typing import Any
from uuid import UUID

from chat.api.lean import Socket
from chat.api.limits import Bucket, Limits
from chat.api.metrics import ENDED, REFUSED
from chat.api.packets import Bundle, acknowledgement
from chat.domain.live import Position
from chat.domain.model import Admission, Role
from common.logging import get_logger

log = get_logger()

MOST_UNDER_WAY = 256
"""Messages of one client that are being stored; it is read on when there are fewer."""

FETCH_S = 2.0
"""How long a client that polls, or reads slowly, may take to fetch its last answers when the process ends."""


class Link:
    """See `chat.api.room.Link`.

    Args:
        sid: its Socket.IO session.
        socket: its connection.
        admission: its right to the chat, as it was when it came.
        after: what it had already when it came.
    """

    __slots__ = (
        "_bucket",
        "_ended",
        "_limits",
        "_under_way",
        "admission",
        "after",
        "closing",
        "gone",
        "joined",
        "joining",
        "sid",
        "socket",
    )

    def __init__(self, sid: str, socket: Socket, admission: Admission, after: Position, limits: Limits) -> None:
        self.sid = sid
        self.socket = socket
        self.admission = admission
        self.after = after
        self.closing = False
        self.joined = False
        self.gone = False
        self.joining: asyncio.Task[None] | None = None
        self._limits = limits
        rate = limits.client_messages_per_s
        self._bucket = Bucket(rate, rate, time.monotonic())
        self._under_way = 0
        self._ended: asyncio.Event | None = None

    @property
    def chat_id(self) -> UUID:
        """See the port."""
        return self.admission.chat.id

    @property
    def role(self) -> Role | None:
        """See the port."""
        return self.admission.claims.role

    def send(self, bundle: Bundle) -> None:
        """See the port. A client that does not read what it is sent is cut off."""
        self._send(bundle, limited=self.joined)

    def _send(self, bundle: Bundle, *, limited: bool) -> None:
        if self.gone:
            return
        waiting = self.socket.write(bundle)
        if waiting > self._limits.client_buffer_bytes and limited:
            log.warning("chat.slow_client_cut_off", chat_id=str(self.chat_id))
            REFUSED.labels("client_buffer").inc()
            ENDED.labels("slow").inc()
            self.gone = True
            self.socket.abort()

    async def drained(self) -> None:
        """See the port."""
        await self.socket.drained()

    def entered(self) -> None:
        """See the port."""
        self.joined = True

    def answer(self, number: int | None, body: dict[str, Any]) -> None:
        """Answer an event, where the client asked for that; who joins may ask for no more than it reads either."""
        if number is not None:
            self._send(Bundle([acknowledgement(number, body)]), limited=True)

    def wait_s(self) -> float:
        """Count a message; return 0, or after how many seconds the client may send one."""
        return self._bucket.take(time.monotonic())

    def begin(self) -> None:
        """Count a message that is being stored."""
        self._under_way += 1

    def end(self) -> None:
        """Count a message no more."""
        self._under_way -= 1
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    async def free(self) -> None:
        """Return once one more message may be stored."""
        await self._fewer_than(MOST_UNDER_WAY)

    async def at_rest(self, timeout_s: float) -> None:
        """Return once all messages are stored and their answers fetched, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._fewer_than(1)
            async with asyncio.timeout(FETCH_S):
                await self.drained()

    async def _fewer_than(self, most: int) -> None:
        while self._under_way >= most:
            self._ended = self._ended or asyncio.Event()  # who reads a body and who closes may both wait
            await self._ended.wait()
