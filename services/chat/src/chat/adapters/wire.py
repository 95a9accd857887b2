"""The wire between the rooms of all processes: core NATS, a subject per chat, followed while somebody is in it.

What is told may be lost, which is no harm: the database is asked for what is missing. What a process tells is not
heard by itself. The processes say every few seconds that they are there; who is silent is lost to the others.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import orjson
from prometheus_client import Counter

from common.broadcasts import Broadcasts, Following
from common.bus import Bus
from common.errors import Unavailable
from common.gather import Gatherer
from common.logging import get_logger
from common.metrics import REGISTRY

log = get_logger()

ROOM = "chat.room."
PROCESSES = "chat.live.processes"
"""Not of two words: the stream of chat's events keeps what is published on `chat.*`."""
MOST_BYTES = 256_000
"""The most that is told at once; a message of 4,000 characters takes up to 24 kB."""
BEAT_S = 2.0
LOST_AFTER_S = 7.0
MOST_AT_ONCE = 1_000
FLUSH_S = 2.0

UNTOLD = Counter(
    "garant_chat_untold",
    "Times that NATS took nothing for others: they read the database",
    registry=REGISTRY,
)

Hear = Callable[[UUID, str, Sequence[dict[str, Any]]], None]


class NatsWire:
    """See `chat.api.rooms.Wire`.

    Args:
        broadcasts: a connection that does not hear itself.
        process: the name of this process, which no other has.
    """

    def __init__(self, broadcasts: Broadcasts, process: str) -> None:
        self._broadcasts = broadcasts
        self.process = process
        self._followed: dict[UUID, Following] = {}
        self._sure: set[UUID] = set()
        self._gatherer: Gatherer[UUID, None] = Gatherer(self._follow, MOST_AT_ONCE)
        self._beats: dict[str, float] = {}
        self._hear: Hear = lambda chat_id, kind, bodies: None
        self._announce: Callable[[], None] = lambda: None
        self._lost: Callable[[str], None] = lambda process: None

    async def start(self, hear: Hear, announce: Callable[[], None], lost: Callable[[str], None]) -> None:
        """Hear of the other processes from now on.

        Args:
            hear: takes what is told of a chat.
            announce: tells who is here, to those who did not hear us for a while.
            lost: takes the name of a process that is silent.
        """
        self._hear, self._announce, self._lost = hear, announce, lost
        self._broadcasts.when_back(announce)
        await self._broadcasts.follow(PROCESSES, self._heard_beat)

    async def run(self) -> None:
        """Send what is told, until the connection is gone for good."""
        await self._broadcasts.run()

    @property
    def connected(self) -> bool:
        """See the port."""
        return self._broadcasts.connected

    async def follow(self, chat_id: UUID) -> None:
        """See the port. While NATS is away this returns: the chat is followed when it is back."""
        if chat_id not in self._sure:
            await self._gatherer.ask([chat_id])

    async def _follow(self, chat_ids: Sequence[UUID]) -> list[None]:
        """Follow chats, and make sure once that the broker knows."""
        for chat_id in chat_ids:
            if chat_id not in self._followed:
                self._followed[chat_id] = await self._broadcasts.follow(f"{ROOM}{chat_id}", self._hearer(chat_id))
        try:
            await self._broadcasts.flush(FLUSH_S)
        except Unavailable as error:
            log.warning("chat.followed_later", chats=len(chat_ids), error=error.detail)
        else:  # but for those that were left meanwhile
            self._sure.update(chat_id for chat_id in chat_ids if chat_id in self._followed)
        return [None] * len(chat_ids)

    def _hearer(self, chat_id: UUID) -> Callable[[bytes], None]:
        def heard(payload: bytes) -> None:
            told = orjson.loads(payload)
            self._hear(chat_id, told["kind"], told["bodies"])

        return heard

    def unfollow(self, chat_id: UUID) -> None:
        """See the port."""
        self._sure.discard(chat_id)
        following = self._followed.pop(chat_id, None)
        if following is not None:
            following.end()

    def tell(self, chat_id: UUID, kind: str, bodies: Sequence[bytes]) -> None:
        """See the port."""
        part: list[bytes] = []
        size = 0
        for body in bodies:
            if part and size + len(body) > MOST_BYTES:
                self._publish(chat_id, kind, part)
                part, size = [], 0
            part.append(body)
            size += len(body)
        self._publish(chat_id, kind, part)

    def _publish(self, chat_id: UUID, kind: str, bodies: Sequence[bytes]) -> None:
        payload = b'{"kind":"%b","bodies":[%b]}' % (kind.encode(), b",".join(bodies))
        if not self._broadcasts.tell(f"{ROOM}{chat_id}", payload):
            UNTOLD.inc()

    async def beat(self) -> None:
        """Say that this process is there, and lose those who were silent; to be called every `BEAT_S`."""
        self._broadcasts.tell(PROCESSES, self.process.encode())
        if not self.connected:
            return  # whoever is silent, we would not hear
        silent = time.monotonic() - LOST_AFTER_S
        for process in [process for process, at in self._beats.items() if at < silent]:
            self._lose(process)

    def _lose(self, process: str) -> None:
        del self._beats[process]
        log.info("chat.process_lost", process=process)
        self._lost(process)

    def _heard_beat(self, payload: bytes) -> None:
        process, now = payload.decode()[:64], time.monotonic()
        if self._beats.get(process, now) < now - LOST_AFTER_S:  # who left it meanwhile, we were not told
            self._lose(process)
        known = process in self._beats
        self._beats[process] = now
        if not known:  # it is new, or did not hear us while one of us was away
            self._announce()


class NatsLive:
    """See `chat.domain.ports.Live`: what works in the background tells the processes that have clients."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def tell(self, chat_id: UUID, kind: str, bodies: Sequence[dict[str, object]]) -> None:
        """See the port."""
        await self._bus.tell(f"{ROOM}{chat_id}", orjson.dumps({"kind": kind, "bodies": list(bodies)}))
