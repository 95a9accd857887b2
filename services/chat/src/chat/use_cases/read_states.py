"""Read how live chats stand now."""

from collections.abc import Sequence
from uuid import UUID

from chat.db import live
from chat.domain.model import ChatState
from common.db import Database


async def read_states(database: Database, chat_ids: Sequence[UUID]) -> list[ChatState]:
    """Return the states of these chats, in one statement."""
    async with database.reading() as connection:
        return await live.states(connection, chat_ids)
