"""Rooms: who gets a broadcast, and the gates of those who are still reading the history.

A client that joins is neither late nor doubled: from before its history is read until it is in the room, a gate
collects what is broadcast; what the history already held is dropped by `seq`; and between the last look into the
gate and the room there is no await.
"""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import socketio

from chat.domain.model import Message

History = Callable[[UUID], AsyncIterator[list[Message]]]


class Rooms:
    """The live clients of this process, by chat."""

    def __init__(self, server: socketio.AsyncServer, history: History) -> None:
        self._server = server
        self._history = history
        self._gates: dict[UUID, dict[str, deque[Message]]] = defaultdict(dict)

    async def broadcast(self, message: Message) -> None:
        """Send a stored message to everybody in its chat, and into the gates of those who join."""
        for gate in self._gates.get(message.chat_id, {}).values():
            gate.append(message)
        await self._server.emit("message", message.shown(), room=str(message.chat_id))

    async def join(self, sid: str, chat_id: UUID) -> None:
        """Send a client the history, then what came meanwhile, and put it into the room."""
        gate = self._gates[chat_id][sid] = deque()
        sent = 0
        try:
            async for chunk in self._history(chat_id):
                for message in chunk:
                    await self._send(sid, message)
                sent = chunk[-1].seq
            while gate:
                message = gate.popleft()
                if message.seq > sent:
                    await self._send(sid, message)
                    sent = message.seq
            # No await between the empty gate and the room: nothing is broadcast in between.
            await self._server.enter_room(sid, str(chat_id))
        finally:
            del self._gates[chat_id][sid]
            if not self._gates[chat_id]:
                del self._gates[chat_id]

    async def _send(self, sid: str, message: Message) -> None:
        await self._server.emit("message", message.shown(), to=sid)
