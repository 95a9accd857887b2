"""What the processes of chat tell each other over core NATS: nothing is kept there, the database is the truth."""

from collections.abc import Sequence
from uuid import UUID

import orjson

from common.bus import Bus


def room_subject(chat_id: UUID) -> str:
    """Return the subject of a chat's room, on which every process with a client in it listens."""
    return f"chat.room.{chat_id}"


class NatsLive:
    """See `chat.domain.ports.Live`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def tell(self, chat_id: UUID, kind: str, bodies: Sequence[dict[str, object]]) -> None:
        """See the port."""
        await self._bus.tell(room_subject(chat_id), orjson.dumps({"kind": kind, "bodies": list(bodies)}))
