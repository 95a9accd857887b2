"""Tell of stored messages: those of a chat that came since it was told of last are one event (ADR 0019)."""

from chat.db import untold
from chat.domain.events import messages_stored
from common import outbox
from common.db import Database

TELL_EVERY_S = 0.25
MOST_CHATS = 500


async def tell_messages(database: Database) -> int:
    """Store the events of some chats; return how many there were."""
    async with database.transaction() as connection:
        found = await untold.take(connection, MOST_CHATS)
        await outbox.append(connection, [messages_stored(one) for one in found])
    return len(found)
