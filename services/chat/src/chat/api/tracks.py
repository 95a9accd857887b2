"""A track: one sequence of a chat, put in order for those who are connected. Pure.

What is stored has a `seq` that counts without gaps. It is heard of in any order, twice, or never: from this
process's writer, from other processes by NATS, and from the database. What leaves is each once, in order.
"""

from dataclasses import dataclass, field

from chat.api.packets import Packet

MOST_KEPT = 1_000
"""What may be kept of one track; what is dropped is read from the database again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored message, or what the system said, as it is sent."""

    seq: int
    packet: Packet


@dataclass(slots=True)
class Track:
    """What the members of a room were sent, and what was heard beyond it.

    While somebody joins, what was sent is kept as well: the one who joins needs it after the history it has read.
    """

    delivered: int = 0
    """Each member has everything up to here, and nothing above."""
    heard: int = 0
    """The highest `seq` that anybody told of."""
    kept: dict[int, Entry] = field(default_factory=dict)

    @property
    def behind(self) -> bool:
        """Whether there is something that the members lack."""
        return self.delivered < self.heard

    def hear(self, entry: Entry) -> None:
        """Take what somebody told; what the members have already is dropped later, in `ready`."""
        if entry.seq > self.heard:
            self.heard = entry.seq
        self.kept[entry.seq] = entry
        if len(self.kept) > MOST_KEPT:
            del self.kept[next(iter(self.kept))]

    def ready(self) -> list[Entry]:
        """Return what comes next for the members, in order; they have it from now on."""
        entries = []
        while (entry := self.kept.get(self.delivered + 1)) is not None:
            self.delivered += 1
            entries.append(entry)
        return entries

    def after(self, seq: int, most_bytes: int) -> list[Entry]:
        """Return what is kept right after `seq`, without a gap, until it is as much as is wanted."""
        entries = []
        while most_bytes > 0 and (entry := self.kept.get(seq + 1)) is not None:
            seq += 1
            most_bytes -= len(entry.packet.payload)
            entries.append(entry)
        return entries

    def has(self, seq: int) -> bool:
        """Tell whether an entry is kept."""
        return seq in self.kept

    def forget_untrue(self, last: int, heard: int) -> None:
        """Believe that `last` is all there is, though `heard` was told of, unless more was told of since."""
        if last < heard == self.heard:
            self.heard = max(last, self.delivered)

    def forget(self) -> None:
        """Drop what the members have: nobody joins."""
        if self.kept and (self.delivered >= self.heard):
            self.kept.clear()
        else:
            for seq in [seq for seq in self.kept if seq <= self.delivered]:
                del self.kept[seq]
