"""Rooms: the live chats of this process, and who is in them, whichever process the others are in.

What enters: clients who join, what this process stored, what other processes tell by NATS, and what the database
says when it is asked. What leaves: each client gets everything once and in order. What never happens: a client
between its history and the room; a message that is lost because nobody told of it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

import orjson

from chat.api.limits import Bucket
from chat.api.metrics import FILLED, ROOMS
from chat.api.packets import Bundle, event
from chat.api.presence import Presence
from chat.api.room import MESSAGE, READ, SYSTEM, Link, Room, read_body, read_packets, slices
from chat.api.tracks import Entry, Track
from chat.domain.live import Page, Position
from chat.domain.model import ChatState, Message, ReadMark, Role
from common.errors import Unavailable
from common.logging import get_logger, report

log = get_logger()

PRESENCE = "presence"
DRAIN_TIMEOUT_S = 30.0
PATIENCE_S = 1.0
"""How long a client may take to read a slice before the rest of its page is let go."""
JOIN_TIMEOUT_S = 300.0
MOST_ROUNDS = 1_000
GAP_S = 0.02
"""How long a message may be missing, while a later one is there, before it is read from the database."""
LINGER_S = 10.0
"""How long an empty room is kept, so that a client that comes back finds it followed."""
HEAL_EVERY_S = 2.0
HEAL_SLICE = 100
"""Rooms that are compared at a time: those who talk are not held up by those who only listen."""
HEALTHY_S = 10.0

History = Callable[[UUID, Position], Awaitable[Page]]
"""The stored messages and system events after a position, up to a bound, and the chat's state."""
States = Callable[[Sequence[UUID]], Awaitable[Sequence[ChatState]]]


class Wire(Protocol):
    """What connects the rooms of all processes."""

    async def follow(self, chat_id: UUID) -> None:
        """Return once what others tell of a chat is heard here."""
        ...

    def unfollow(self, chat_id: UUID) -> None:
        """Hear of a chat no more."""
        ...

    def tell(self, chat_id: UUID, kind: str, bodies: Sequence[bytes]) -> None:
        """Tell the other processes; it may be lost."""
        ...

    @property
    def connected(self) -> bool:
        """Whether what is told now is heard."""
        ...


class Rooms:
    """All rooms of this process."""

    def __init__(self, wire: Wire, history: History, states: States, presence: Presence) -> None:
        self._wire = wire
        self._history = history
        self._states = states
        self._presence = presence
        self._rooms: dict[UUID, Room] = {}
        self._healed_at = time.monotonic()

    def find(self, chat_id: UUID) -> Room | None:
        """Return a live chat."""
        return self._rooms.get(chat_id)

    # What is told

    def stored(self, messages: Sequence[Message]) -> None:
        """Send messages that this process has committed, here and everywhere."""
        by_chat: dict[UUID, list[tuple[int, bytes]]] = {}
        for message in messages:
            by_chat.setdefault(message.chat_id, []).append((message.seq, orjson.dumps(message.shown())))
        for chat_id, items in by_chat.items():
            self._wire.tell(chat_id, MESSAGE, [body for _, body in items])
            room = self._rooms.get(chat_id)
            if room is not None:
                self._hear(room, room.messages, [Entry(seq, event(MESSAGE, body)) for seq, body in items])

    def heard(self, chat_id: UUID, kind: str, bodies: Sequence[dict[str, Any]]) -> None:
        """Take what another process tells of a chat."""
        room = self._rooms.get(chat_id)
        if room is None:
            return
        if kind in (MESSAGE, SYSTEM):
            track = room.messages if kind == MESSAGE else room.system
            self._hear(room, track, [Entry(body["seq"], event(kind, orjson.dumps(body))) for body in bodies])
        elif kind == READ:
            room.note_reads({Role(body["role"]): body["last_read_seq"] for body in bodies})
        elif kind == PRESENCE:
            for body in bodies:
                if self._presence.heard(chat_id, body["process"], [Role(role) for role in body["roles"]]):
                    self._show_presence(room)
                if body.get("ask"):
                    self._tell_presence(chat_id)

    def read(self, marks: Iterable[ReadMark]) -> None:
        """Show how far parties have read, as this process has stored it, here and everywhere."""
        for mark in marks:
            self._wire.tell(mark.chat_id, READ, [read_body(mark.role, mark.seq)])
            room = self._rooms.get(mark.chat_id)
            if room is not None:
                room.note_reads({mark.role: mark.seq})

    def _hear(self, room: Room, track: Track, entries: Iterable[Entry]) -> None:
        room.hear(track, entries)
        if room.links and track.behind:
            self._fill_soon(room)

    # Gaps

    def _fill_soon(self, room: Room) -> None:
        if room.filling is None:
            room.filling = asyncio.create_task(self._fill_later(room))

    async def _fill_later(self, room: Room) -> None:
        try:
            await asyncio.sleep(GAP_S)  # what is on its way gets here meanwhile
            await self._fill(room)
        except Exception as error:  # the next look at all rooms asks again
            log.warning("chat.gap_not_filled", chat_id=str(room.chat_id), error=repr(error))
            report(error)
        finally:
            room.filling = None

    async def _fill(self, room: Room) -> None:
        """Send the members what the database has and nobody told of."""
        for _ in range(MOST_ROUNDS):
            if not room.links or not room.behind:
                return
            for kind, track in ((MESSAGE, room.messages), (SYSTEM, room.system)):
                if track.behind:
                    FILLED.labels(kind).inc()
            before, heard = room.delivered, room.heard
            page = await self._history(room.chat_id, before)
            room.hear_page(page)
            room.forget_untrue(page.state, heard)
            if room.delivered == before:
                return  # asking again at once would bring no more

    async def heal(self) -> None:
        """Compare all rooms with the database: what nobody told of is read; empty rooms are closed."""
        live = [chat_id for chat_id, room in self._rooms.items() if room.links]
        for start in range(0, len(live), HEAL_SLICE):
            for state in await self._states(live[start : start + HEAL_SLICE]):
                room = self._rooms.get(state.id)
                if room is not None:
                    self._note_state(room, state)
        self._healed_at = time.monotonic()
        for room in [room for room in self._rooms.values() if not room.links and not room.joining]:
            if self._healed_at - room.empty_since > LINGER_S:
                del self._rooms[room.chat_id]
                self._presence.forget(room.chat_id)
                self._wire.unfollow(room.chat_id)
        ROOMS.set(len(self._rooms))

    def _note_state(self, room: Room, state: ChatState) -> None:
        room.state = state
        room.messages.heard = max(room.messages.heard, state.last_seq)
        room.system.heard = max(room.system.heard, state.last_system_seq)
        room.note_reads(state.read_seqs)
        if room.links and room.behind:
            self._fill_soon(room)

    async def check(self) -> None:
        """Tell whether clients here get what others say.

        Raises:
            Unavailable: when NATS is away, or the rooms could not be compared with the database for a while.
        """
        if not self._wire.connected:
            raise Unavailable("not connected to NATS: what others say comes late")
        if time.monotonic() - self._healed_at > HEALTHY_S:
            raise Unavailable("the live chats were not compared with the database lately")

    # Clients

    def wait_s(self, chat_id: UUID, rate: float) -> float:
        """Count a message of a chat; return 0, or after how many seconds it may have one."""
        room, now = self._rooms.get(chat_id), time.monotonic()
        if room is None:
            return 0.0
        room.bucket = room.bucket or Bucket(rate, rate, now)
        return room.bucket.take(now)

    async def join(self, link: Link, after: Position) -> None:
        """Send a client what it lacks, at the pace it reads, and put it into its room.

        Args:
            after: what the client has already.

        Raises:
            TimeoutError: when the client does not read, or can't keep up.
        """
        room = self._rooms.get(link.chat_id)
        if room is None:
            room = self._rooms[link.chat_id] = Room(link.chat_id)
        room.joining += 1
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await self._wire.follow(link.chat_id)
                await self._catch_up(room, link, after)
        finally:
            room.joining -= 1
            if not room.joining:
                room.forget()

    async def _catch_up(self, room: Room, link: Link, position: Position) -> None:
        position = await self._send_history(room, link, position)
        for _ in range(MOST_ROUNDS):
            before = position, room.delivered
            position = room.send_kept(link, position)
            if room.keeps(position):
                await _drained(link, DRAIN_TIMEOUT_S)
            elif position.message < room.messages.heard or position.system < room.system.heard:
                position = await self._send_history(room, link, position)  # a gap that the database fills
            elif not room.links or position == room.delivered:
                # Nothing was awaited since the last look: nothing was sent to the room in between.
                self._enter(room, link, position)
                return
            else:  # the history is ahead of the room: those who are in it are told first
                room.messages.heard, room.system.heard = position.message, position.system
                await self._fill(room)
            if before == (position, room.delivered):
                await asyncio.sleep(GAP_S)
        raise TimeoutError("the client can't keep up with its chat")

    async def _send_history(self, room: Room, link: Link, position: Position) -> Position:
        more = True
        while more:
            position, more = await self._send_page(room, link, position)
            await _drained(link, DRAIN_TIMEOUT_S)
        return position

    async def _send_page(self, room: Room, link: Link, start: Position) -> tuple[Position, bool]:
        """Send what the database has, a page at most; return what the client has then, and whether there is more.

        While a client reads slowly no page is held for it: the rest is read from the database again.
        """
        heard = room.heard
        page = await self._history(link.chat_id, start)
        room.state = page.state
        room.note_reads(page.state.read_seqs)
        room.forget_untrue(page.state, heard)
        for bundle, reached in slices(page, start):
            link.send(bundle)
            await asyncio.sleep(0)  # others have their turn
            try:
                await _drained(link, PATIENCE_S)
            except TimeoutError:
                return reached, True
        return page.end(start), page.more

    def _enter(self, room: Room, link: Link, position: Position) -> None:
        first = not room.links
        room.enter(link, position)
        came = link.role is not None and self._presence.entered(link.chat_id, link.role)
        if came or first:
            self._tell_presence(link.chat_id, ask=first)
        if came:
            self._show_presence(room)
        else:
            link.send(Bundle([self._presence.shown(link.chat_id)]))
        reads = read_packets(room.reads)
        if reads:
            link.send(Bundle(reads))

    def leave(self, link: Link) -> None:
        """Forget a client that is gone."""
        room = self._rooms.get(link.chat_id)
        if room is None or room.links.pop(link.sid, None) is None:
            return
        room.empty_since = time.monotonic()
        if link.role is not None and self._presence.left(link.chat_id, link.role):
            self._tell_presence(link.chat_id)
            self._show_presence(room)

    # Presence

    def _tell_presence(self, chat_id: UUID, *, ask: bool = False) -> None:
        body = {"process": self._presence.process, "roles": self._presence.here(chat_id)}
        self._wire.tell(chat_id, PRESENCE, [orjson.dumps(body | ({"ask": True} if ask else {}))])

    def _show_presence(self, room: Room) -> None:
        room.send([self._presence.shown(room.chat_id)])

    def announce(self) -> None:
        """Tell and ask who is where anew: the wire was broken, or another process did not hear us for a while."""
        for chat_id, room in self._rooms.items():  # also where the last has left: it may not have been heard
            self._tell_presence(chat_id, ask=bool(room.links))

    def lost(self, process: str) -> None:
        """Show that those who were connected to a process are gone with it."""
        for chat_id in self._presence.lost(process):
            room = self._rooms.get(chat_id)
            if room is not None:
                self._show_presence(room)


async def _drained(link: Link, timeout_s: float) -> None:
    """Return once a client has read what it was sent.

    Raises:
        TimeoutError: when it takes longer.
    """
    async with asyncio.timeout(timeout_s):
        await link.drained()
