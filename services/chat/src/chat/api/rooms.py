"""Rooms: who gets a broadcast, and the gates of those who are still reading the history.

A client that joins is neither late nor doubled: from before its history is read until it is in the room, a gate
collects what is broadcast; between the last look into the gate and the room there is no await; and what each
client was sent last is remembered, so that a message that was committed, read as history and broadcast only then
is not heard twice, and one that was committed without a broadcast is sent before the next.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol
from uuid import UUID

from chat.domain.model import Message
from common.logging import get_logger

log = get_logger()

MAX_GATE = 1_000
MAX_WAITING_PACKETS = 500
"""Live messages that may wait for a client who does not read; then it is cut off."""
DRAIN_TIMEOUT_S = 30.0

History = Callable[[UUID, int], AsyncIterator[list[Message]]]
"""Stored messages of a chat above a `seq`, in chunks."""


class Clients(Protocol):
    """The connections, as the Socket.IO server keeps them."""

    async def emit(
        self, event: str, data: object, *, room: str | None = None, to: str | None = None, skip_sid: object = None
    ) -> None:
        """Send an event."""
        ...

    async def enter_room(self, sid: str, room: str) -> None:
        """Put a client into a room, without an await inside."""
        ...

    def waiting_packets(self, sid: str) -> int:
        """Return how many packets wait for a client."""
        ...

    async def drained(self, sid: str) -> None:
        """Return once nothing waits for a client any more."""
        ...

    async def cut_off(self, sid: str) -> None:
        """End a connection without waiting for it."""
        ...


class Rooms:
    """The live clients of this process, by chat."""

    def __init__(self, clients: Clients, history: History) -> None:
        self._clients = clients
        self._history = history
        self._gates: dict[UUID, dict[str, deque[Message]]] = defaultdict(dict)
        self._last_sent: dict[UUID, dict[str, int]] = defaultdict(dict)

    async def broadcast(self, message: Message) -> None:
        """Send a stored message to everybody in its chat, and into the gates of those who join."""
        for gate in self._gates.get(message.chat_id, {}).values():
            gate.append(message)
        members = self._last_sent.get(message.chat_id)
        if not members:
            return
        behind = min(members.values())
        if behind < message.seq - 1:
            await self._fill_gap(message, behind)
        await self._send_to_all(message)

    async def _fill_gap(self, message: Message, behind: int) -> None:
        """Send what was committed without a broadcast: its writer never heard of the commit."""
        async for chunk in self._history(message.chat_id, behind):
            for missed in chunk:
                if missed.seq < message.seq:
                    await self._send_to_all(missed)

    async def _send_to_all(self, message: Message) -> None:
        members = self._last_sent.get(message.chat_id, {})
        ahead = [sid for sid, last in members.items() if last >= message.seq]
        slow = [sid for sid in members if self._clients.waiting_packets(sid) > MAX_WAITING_PACKETS]
        for sid in members:
            members[sid] = max(members[sid], message.seq)
        for sid in slow:
            log.warning("chat.slow_client_cut_off", chat_id=str(message.chat_id))
            self.leave(sid, message.chat_id)
            await self._clients.cut_off(sid)
        room = str(message.chat_id)
        await self._clients.emit("message", message.shown(), room=room, skip_sid=[*ahead, *slow])

    async def join(self, sid: str, chat_id: UUID) -> None:
        """Send a client the history at the pace it reads, then what came meanwhile, and put it into the room.

        Raises:
            TimeoutError: when the client does not read its history.
        """
        gate = self._gates[chat_id][sid] = deque(maxlen=MAX_GATE)
        sent, complete = 0, False
        try:
            while not complete:
                async for chunk in self._history(chat_id, sent):
                    for message in chunk:
                        await self._send(sid, message)
                    sent = chunk[-1].seq
                    await asyncio.wait_for(self._clients.drained(sid), DRAIN_TIMEOUT_S)
                sent, complete = await self._drain(sid, gate, sent)
            # No await between the empty gate and the room: nothing is broadcast in between.
            self._last_sent[chat_id][sid] = sent
            await self._clients.enter_room(sid, str(chat_id))
        finally:
            _remove(self._gates, chat_id, sid)

    async def _drain(self, sid: str, gate: deque[Message], sent: int) -> tuple[int, bool]:
        """Send what the gate holds; return the last `seq` sent, and False when the gate had run over.

        What a full gate dropped is in the database: the history is read on from there.
        """
        while gate:
            message = gate.popleft()
            if message.seq > sent + 1:
                return sent, False
            if message.seq > sent:
                await self._send(sid, message)
                sent = message.seq
        return sent, True

    async def _send(self, sid: str, message: Message) -> None:
        await self._clients.emit("message", message.shown(), to=sid)

    def leave(self, sid: str, chat_id: UUID) -> None:
        """Forget a client that is gone."""
        _remove(self._last_sent, chat_id, sid)


def _remove(table: dict[UUID, dict[str, Any]], chat_id: UUID, sid: str) -> None:
    table.get(chat_id, {}).pop(sid, None)
    if not table.get(chat_id, True):
        del table[chat_id]
