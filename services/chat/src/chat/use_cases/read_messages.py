"""Read a page of a chat's messages for the marketplace whose deal it is."""

from collections.abc import Sequence
from uuid import UUID

from chat.db import messages
from chat.domain.errors import ChatNotFound
from chat.domain.model import Message
from chat.domain.ports import Deals
from chat.use_cases.find_chat import find_chat
from common.db import Database


async def read_messages(
    database: Database, deals: Deals, tenant_id: int, chat_id: UUID, after: int, limit: int
) -> Sequence[Message]:
    """Return messages with a `seq` above `after`, oldest first.

    Raises:
        ChatNotFound: when the tenant has no deal with this chat.
        Unavailable: when we do not know the chat and deals can't be asked.
    """
    chat = await find_chat(database, deals, chat_id, usable=lambda _: True, enough=lambda _: True)
    if chat is None or chat.tenant_id != tenant_id:
        raise ChatNotFound("there is no chat with this id")
    async with database.reading() as connection:
        return await messages.page(connection, chat_id, after, limit)
