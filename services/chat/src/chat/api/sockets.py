"""The events of clients: connects are admitted, `message` and `read` stored and answered, all else is ignored."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from socketio.exceptions import ConnectionRefusedError as Refused

from chat.api.limits import Limits
from chat.api.links import Link
from chat.api.metrics import ENDED, LINKS, REFUSED
from chat.api.rooms import Rooms
from chat.api.server import NAMESPACE, Server
from chat.domain.errors import NotAdmitted, RateLimited
from chat.domain.live import position, read_mark
from chat.domain.model import Admission, Draft, Message, ReadMark, draft
from common.errors import InvalidInput, ServiceError, Unavailable
from common.ids import bind_request_id
from common.logging import get_logger, report

log = get_logger()

AUTHORIZATION_ERROR = "authorization error"
UNAVAILABLE = "temporarily unavailable"
PLACE_S = 10.0
"""After how long somebody may ask again for a place in a chat that is full."""

Admit = Callable[[object], Awaitable[Admission]]


class Store(Protocol):
    """Stores what clients say."""

    def submit(self, draft: Draft) -> "asyncio.Future[list[Message | ServiceError]]":
        """Have a message stored after those submitted before; the answer comes once it is committed.

        Raises:
            Unavailable: when too many wait already.
        """
        ...


class Marks(Protocol):
    """Stores how far parties have read."""

    async def mark(self, mark: ReadMark) -> None:
        """Move a mark forward.

        Raises:
            Unavailable: when the database failed; asking again is harmless.
        """
        ...


class Sockets:
    """The handlers of a server, and all clients that were admitted."""

    def __init__(
        self, server: Server, admit: Admit, store: Store, marks: Marks, rooms: Rooms, limits: Limits
    ) -> None:
        self._server = server
        self._admit = admit
        self._store = store
        self._marks = marks
        self._rooms = rooms
        self._limits = limits
        self._links: dict[str, Link] = {}
        self._places: Counter[UUID] = Counter()
        server.on("connect", self._connect)
        server.on("disconnect", self._disconnect)
        server.handle({"message": self._message, "read": self._read}, self._begin_join)

    @property
    def links(self) -> Sequence[Link]:
        """All admitted clients."""
        return tuple(self._links.values())

    def end(self, link: Link, reason: str) -> None:
        """End a client's connection, for a reason that the metric names."""
        self._server.end(link.socket.sid, reason)

    # Coming and going

    async def _connect(self, sid: str, _: dict[str, Any], auth: Any = None) -> None:
        """Admit a client or refuse it; nothing is sent before the handshake is answered."""
        bind_request_id(None)
        eio_sid = self._server.manager.eio_sid_from_sid(sid, NAMESPACE)
        given = auth if isinstance(auth, dict) else {}
        try:
            after = position(given)
            admission = await self._admit(given.get("token"))
            self._check_place(admission.chat.id)
        except NotAdmitted as error:
            self._server.eio.offended(eio_sid)
            REFUSED.labels("token").inc()
            raise _refused(AUTHORIZATION_ERROR, error) from error
        except InvalidInput as error:
            self._server.eio.offended(eio_sid)
            raise _refused(error.detail, error) from error
        except RateLimited as error:
            raise _refused(error.detail, error) from error
        except ServiceError as error:
            raise _refused(UNAVAILABLE, Unavailable(error.detail)) from error
        except Exception as error:
            log.error("chat.connect_failed", error=repr(error))
            report(error)
            raise _refused(UNAVAILABLE, Unavailable("this is a bug; it was reported")) from error
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is None:
            raise _refused(UNAVAILABLE, Unavailable("the connection has ended meanwhile"))
        self._links[eio_sid] = Link(sid, socket, admission, after, self._limits)
        self._places[admission.chat.id] += 1
        LINKS.set(len(self._links))

    def _check_place(self, chat_id: UUID) -> None:
        if self._places[chat_id] >= self._limits.connections_per_chat:
            REFUSED.labels("connections_per_chat").inc()
            raise RateLimited("this chat has as many connections as one may have", PLACE_S)

    def _begin_join(self, eio_sid: str) -> None:
        """Let the client join beside what it sends: its pongs are heard while it reads a long history."""
        link = self._links.get(eio_sid)
        if link is not None:
            link.joining = asyncio.create_task(self._join(link))

    async def _join(self, link: Link) -> None:
        """Send the history and enter the room; a failure ends the connection, so that the client tries again."""
        try:
            await self._server.enter_room(link.sid, str(link.chat_id))
            await self._rooms.join(link, link.after)
        except TimeoutError as error:
            log.warning("chat.join_too_slow", chat_id=str(link.chat_id), error=repr(error))
            self.end(link, "slow")
        except Exception as error:
            log.warning("chat.join_failed", chat_id=str(link.chat_id), error=repr(error))
            report(error)
            self.end(link, "join_failed")

    async def _disconnect(self, sid: str, *_: Any) -> None:
        """Forget a client that is gone."""
        link = self._links.pop(self._server.manager.eio_sid_from_sid(sid, NAMESPACE), None)
        if link is None:
            return
        LINKS.set(len(self._links))
        self._places[link.chat_id] -= 1
        if not self._places[link.chat_id]:
            del self._places[link.chat_id]
        link.gone = True
        if link.joining is not None:
            link.joining.cancel()
        self._rooms.leave(link)

    async def close(self, patience_s: float) -> None:
        """End all connections, once what their clients have sent is stored and answered."""
        links = self.links
        for link in links:
            link.closing = True
        await asyncio.gather(*(self._close(link, patience_s) for link in links))

    async def _close(self, link: Link, patience_s: float) -> None:
        await link.at_rest(patience_s)
        ENDED.labels("shutdown").inc()
        await self._server.eio.end(link.socket.sid)

    # What clients say

    async def _message(self, eio_sid: str, payload: Any, number: int | None) -> bool:
        """Have a message stored; the answer is the acknowledgement, for a client that asked for one."""
        link = self._links.get(eio_sid)
        if link is None or link.closing:
            return False
        try:
            written = draft(link.admission, payload)
            self._check_rate(link)
            stored = self._store.submit(written)
        except ServiceError as error:
            link.answer(number, _answer(error))
            return False
        link.begin()
        stored.add_done_callback(partial(_stored, link, number))
        await link.free()
        return True

    async def _read(self, eio_sid: str, payload: Any, number: int | None) -> bool:
        """Note how far a party has read."""
        link = self._links.get(eio_sid)
        if link is None or link.closing:
            return False
        try:
            mark = read_mark(link.admission, payload)
            self._check_rate(link)
            await self._marks.mark(mark)
            link.answer(number, {"read": True})
        except ServiceError as error:
            link.answer(number, _answer(error))
            return False
        return True

    def _check_rate(self, link: Link) -> None:
        """Count a message of a client, then of its chat: what one is refused is not taken from the others."""
        _check_wait("client_messages", link.wait_s())
        _check_wait("chat_messages", self._rooms.wait_s(link.chat_id, self._limits.chat_messages_per_s))


def _check_wait(limit: str, wait_s: float) -> None:
    if wait_s:
        REFUSED.labels(limit).inc()
        raise RateLimited(f"too many messages ({limit})", wait_s)


def _refused(words: str, error: ServiceError) -> Refused:
    return Refused(words, {"code": error.code, "detail": error.detail})


def _answer(error: ServiceError) -> dict[str, Any]:
    answer: dict[str, Any] = {"error": error.code}
    if isinstance(error, RateLimited):
        answer["retry_after_s"] = round(error.retry_after_s, 3)
    return answer


def _stored(link: Link, number: int | None, answers: "asyncio.Future[list[Message | ServiceError]]") -> None:
    """Answer a message once it is stored, or refused, or nobody knows."""
    link.end()
    error = answers.exception()
    answer = error if error is not None else answers.result()[0]
    if isinstance(answer, Message):
        link.answer(number, {"id": answer.id, "seq": answer.seq})
    elif isinstance(answer, ServiceError):
        link.answer(number, _answer(answer))
    else:
        link.answer(number, {"error": "unavailable"})
