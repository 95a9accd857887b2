"""Find a chat: at home, or at deals where home does not know enough of it."""

from collections.abc import Callable
from uuid import UUID

from chat.db import messages
from chat.domain.model import Chat
from chat.domain.ports import Deals
from common.db import Database
from common.errors import Unavailable


async def find_chat(
    database: Database,
    deals: Deals,
    chat_id: UUID,
    *,
    usable: Callable[[Chat], bool],
    enough: Callable[[Chat], bool],
) -> Chat | None:
    """Return a chat, or None when no deal has it.

    The events that tell of a deal may be on their way, so deals is asked before anybody is refused; what it says
    is kept, where it is newer than what is there.

    Args:
        usable: whether our own copy will do while deals is away.
        enough: whether it will do without asking deals.

    Raises:
        Unavailable: when deals can't be asked, and our own copy won't do.
    """
    async with database.reading() as connection:
        ours = await messages.find_chat(connection, chat_id)
    if ours is not None and enough(ours):
        return ours
    try:
        asked = await deals.find_chat(chat_id)
    except Unavailable:
        if ours is not None and usable(ours):
            return ours
        raise
    if asked is None:
        return ours
    async with database.transaction() as connection:
        await messages.keep_chat(connection, asked)
        return await messages.find_chat(connection, chat_id)
