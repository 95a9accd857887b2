"""Read a chat's stored messages."""

from collections.abc import AsyncIterator
from uuid import UUID

from chat.db import messages
from chat.domain.model import Message
from common.db import Database

CHUNK = 200


async def read_history(database: Database, chat_id: UUID, after: int = 0) -> AsyncIterator[list[Message]]:
    """Yield chunks of messages with a `seq` above `after`, in order, until there are no more."""
    while True:
        async with database.transaction() as connection:
            chunk = await messages.history(connection, chat_id, after, CHUNK)
        if chunk:
            yield chunk
            after = chunk[-1].seq
        if len(chunk) < CHUNK:
            return
