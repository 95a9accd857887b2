"""Read what a client lacks of a chat."""

import asyncio
from uuid import UUID

from chat.db import pages
from chat.domain.live import Page, Position
from common.db import Database

MOST_AT_ONCE = 8
"""Pages that are read at a time: what is held in memory before it is sent is bounded."""


class History:
    """Reads pages of stored messages and of what the system said."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def read(self, chat_id: UUID, after: Position) -> Page:
        """Return a page of what comes after a position, and the chat's state at the same moment."""
        async with self._places, self._database.reading() as connection:
            return await pages.page(connection, chat_id, after)
