"""One room: who is in a chat here, what they have, and what is sent to them. Nothing is awaited."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol
from uuid import UUID

import orjson

from chat.api.limits import Bucket
from chat.api.packets import Bundle, Packet, event
from chat.api.tracks import Entry, Track
from chat.domain.live import Page, Position
from chat.domain.model import ChatState, Message, Role, SystemEvent

MESSAGE, SYSTEM, READ = "message", "system", "read"
SLICE_BYTES = 64 * 1024
"""History is written in slices of this size, each of which waits until the client has read the one before."""


class Link(Protocol):
    """An admitted client."""

    @property
    def sid(self) -> str:
        """Its Socket.IO session."""
        ...

    @property
    def chat_id(self) -> UUID:
        """Its chat."""
        ...

    @property
    def role(self) -> Role | None:
        """The party it is; None where its token does not say."""
        ...

    def send(self, bundle: Bundle) -> None:
        """Hand packets to its connection, or cut it off where too much waits already."""
        ...

    async def drained(self) -> None:
        """Return once the client has read what it was sent."""
        ...

    def entered(self) -> None:
        """Note that it is in its room."""
        ...


@dataclass(slots=True)
class Room:
    """A chat with clients of this process."""

    chat_id: UUID
    links: dict[str, Link] = field(default_factory=dict)
    joining: int = 0
    messages: Track = field(default_factory=Track)
    system: Track = field(default_factory=Track)
    reads: dict[Role, int] = field(default_factory=dict)
    state: ChatState | None = None
    empty_since: float = field(default_factory=time.monotonic)
    filling: "asyncio.Task[None] | None" = None
    bucket: Bucket | None = None

    @property
    def behind(self) -> bool:
        """Whether the members lack something that was told of."""
        return self.messages.behind or self.system.behind

    @property
    def delivered(self) -> Position:
        """What each member has."""
        return Position(self.messages.delivered, self.system.delivered)

    @property
    def heard(self) -> Position:
        """What anybody told of."""
        return Position(self.messages.heard, self.system.heard)

    def send(self, packets: Sequence[Packet]) -> None:
        """Send to all members."""
        bundle = Bundle(packets)
        for link in tuple(self.links.values()):
            link.send(bundle)

    def hear(self, track: Track, entries: Iterable[Entry]) -> None:
        """Send the members what comes next of what was told; keep the rest, and what those who join will want."""
        if not self.links and not self.joining:
            return
        ready: list[Entry] = []
        for entry in entries:
            track.hear(entry)
            if self.links:
                ready += track.ready()
        if ready:
            self.send([entry.packet for entry in ready])
        if not self.joining:
            track.forget()

    def hear_page(self, page: Page) -> None:
        """Hear what the database says."""
        self.hear(self.system, map(system_entry, page.system_events))
        self.hear(self.messages, map(message_entry, page.messages))

    def forget_untrue(self, state: ChatState, heard: Position) -> None:
        """Let go of what was heard of before the database was asked, and is not there: it will never come."""
        self.messages.forget_untrue(state.last_seq, heard.message)
        self.system.forget_untrue(state.last_system_seq, heard.system)

    def keeps(self, position: Position) -> bool:
        """Tell whether what follows is kept."""
        return self.messages.has(position.message + 1) or self.system.has(position.system + 1)

    def note_reads(self, reads: Mapping[Role, int]) -> None:
        """Show how far parties have read, where that is news."""
        moved = {role: seq for role, seq in reads.items() if seq > self.reads.get(role, 0)}
        if moved:
            self.reads.update(moved)
            self.send(read_packets(moved))

    def send_kept(self, link: Link, position: Position) -> Position:
        """Send a client that joins a slice of what was told meanwhile; return what it has then."""
        system = self.system.after(position.system, SLICE_BYTES)
        messages = self.messages.after(position.message, SLICE_BYTES)
        if system or messages:
            link.send(Bundle([entry.packet for entry in (*system, *messages)]))
        return Position(position.message + len(messages), position.system + len(system))

    def enter(self, link: Link, position: Position) -> None:
        """Put a client in that has exactly what the members have; the first one says what that is."""
        if not self.links:
            for track, seq in ((self.messages, position.message), (self.system, position.system)):
                track.delivered = seq
                track.heard = max(track.heard, seq)
        self.links[link.sid] = link
        link.entered()

    def forget(self) -> None:
        """Drop what was kept for those who joined."""
        self.messages.forget()
        self.system.forget()
        self.empty_since = time.monotonic()


def message_entry(message: Message) -> Entry:
    """Return a message as it is sent."""
    return Entry(message.seq, event(MESSAGE, orjson.dumps(message.shown())))


def system_entry(told: SystemEvent) -> Entry:
    """Return what the system said as it is sent."""
    return Entry(told.seq, event(SYSTEM, orjson.dumps(told.shown())))


def read_body(role: Role, seq: int) -> bytes:
    """Return how far a party has read, as JSON."""
    return orjson.dumps({"role": role.value, "last_read_seq": seq})


def read_packets(reads: Mapping[Role, int]) -> list[Packet]:
    """Return how far parties have read, for each that has read anything."""
    return [event(READ, read_body(role, seq)) for role, seq in reads.items() if seq]


def slices(page: Page, start: Position) -> Iterable[tuple[Bundle, Position]]:
    """Yield what a page holds in slices, each with what a client that had `start` has after it."""
    packets: list[Packet] = []
    size, messages, system = 0, start.message, start.system
    told: Iterable[SystemEvent | Message] = chain(page.system_events, page.messages)
    for one in told:
        if isinstance(one, Message):
            entry, messages = message_entry(one), one.seq
        else:
            entry, system = system_entry(one), one.seq
        packets.append(entry.packet)
        size += len(entry.packet.payload)
        if size >= SLICE_BYTES:
            yield Bundle(packets), Position(messages, system)
            packets, size = [], 0
    if packets:
        yield Bundle(packets), Position(messages, system)
