"""A participant of a chat, who checks every message for loss, doubling and order."""

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.chatting.wire import Connection, frame

SETTLE_S = 20.0
PADDING = b"x" * 40
_NUMBERS = itertools.count(1)
MESSAGE, SEQ = b'42["message",', b'"seq":'


@dataclass(slots=True)
class Tally:
    """What was counted: faults always, times while `recording`."""

    faults: Counter[str] = field(default_factory=Counter)
    all: Counter[str] = field(default_factory=Counter)
    recording: bool = False
    said: int = 0
    """Messages that were sent, heard and acknowledged, before and after the clock ran too."""
    times_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def count(self, name: str, began: float) -> None:
        """Count something that is done now, and note how long it took if the clock runs."""
        self.all[name] += 1
        if self.recording:
            self.times_s[name].append(time.perf_counter() - began)


def seq_of(packet: bytes) -> int:
    """Return the sequence number in a packet, or 0 where it has none."""
    at = packet.find(SEQ)
    if at < 0:
        return 0
    begins = ends = at + len(SEQ)
    while packet[ends : ends + 1].isdigit():
        ends += 1
    return int(packet[begins:ends])


class Participant(Connection):
    """A connected user.

    A message that is heard must have the `seq` after the last one heard; one's own come back in the order they
    were sent, each once and each acknowledged once, with the same `seq`.

    Args:
        heard_own: called when a message of one's own came back.
    """

    def __init__(
        self,
        port: int,
        chat_id: str,
        user_id: int,
        tally: Tally,
        *,
        address: str,
        heard_own: Callable[["Participant"], None] | None = None,
        deflate: bool = False,
    ) -> None:
        super().__init__(port, f'{{"token":"{chat_id}"}}'.encode(), address, deflate=deflate)
        self.tally, self._awaited, self._heard_own = tally, 0, heard_own
        self.last_seq = self.sent = self.heard = self.acked = 0
        self._mark = f"~{next(_NUMBERS)}.".encode()
        self._before, self._after = f'["message",{{"user_id":{user_id},"message":"'.encode() + self._mark, b'"}]'
        self._sent_at: dict[int, float] = {}
        self._half_seen: dict[int, int] = {}
        self._changed = asyncio.Event()

    def say(self, count: int = 1) -> None:
        """Send messages."""
        frames = []
        for number in range(self.sent + 1, self.sent + count + 1):
            frames.append(frame(b"42%d%b%d~%b%b" % (number, self._before, number, PADDING, self._after)))
            self._sent_at[number] = time.perf_counter()
        self.sent += count
        self.write(b"".join(frames))

    def event(self, packet: bytes) -> None:
        """See `Connection`."""
        if not packet.startswith(MESSAGE):
            return
        seq = seq_of(packet)
        if seq != self.last_seq + 1:
            self.tally.faults["lost" if seq > self.last_seq else "doubled or out of order"] += 1
        self.last_seq = seq
        at = packet.find(self._mark)
        if at >= 0:
            begins = at + len(self._mark)
            self._own(int(packet[begins : packet.index(b"~", begins)]), seq)
        if seq == self._awaited:
            self._changed.set()

    def _own(self, number: int, seq: int) -> None:
        self.heard += 1
        if number != self.heard:
            self.tally.faults["own message lost, doubled or out of order"] += 1
        sent_at = self._sent_at.pop(number, None)
        if sent_at is not None:
            self.tally.count("message", sent_at)
        self._pair(number, seq)
        if self._heard_own is not None:
            self._heard_own(self)

    def acknowledged(self, packet: bytes) -> None:
        """See `Connection`."""
        self.acked += 1
        seq = seq_of(packet)
        if not seq:
            self.tally.faults[f"refused: {packet[packet.find(b'[') :][:80].decode()}"] += 1
            return
        self._pair(int(packet[2 : packet.index(b"[")]), seq)

    def _pair(self, number: int, seq: int) -> None:
        """Compare what the broadcast and the acknowledgement said."""
        other = self._half_seen.pop(number, None)
        if other is None:
            self._half_seen[number] = seq
        elif other != seq:
            self.tally.faults["acknowledged with another seq"] += 1
        if self.settled:
            self._changed.set()

    @property
    def settled(self) -> bool:
        """Tell whether all that was sent was heard and acknowledged."""
        return self.sent == self.heard == self.acked

    async def _until(self, done: Callable[[], bool], missing: str) -> None:
        try:
            async with asyncio.timeout(SETTLE_S):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self.tally.faults[missing] += 1

    async def until_seq(self, seq: int) -> None:
        """Wait until this message was heard."""
        self._awaited = seq
        await self._until(lambda: self.last_seq >= seq, "messages never heard")

    async def until_settled(self) -> None:
        """Wait until all that was sent was heard and acknowledged."""
        await self._until(lambda: self.settled, "messages never heard or acknowledged")
