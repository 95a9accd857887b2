"""Admit a connection to a chat, by a participant token or by the chat's id."""

from uuid import UUID

from chat.db import messages
from chat.domain.errors import NotAdmitted
from chat.domain.model import Admission, Chat, Claims
from chat.domain.ports import Deals, Tokens
from common.clock import Clock
from common.db import Database

MAX_TOKEN = 4096


async def admit(
    database: Database, deals: Deals, tokens: Tokens, clock: Clock, token: object, *, accept_plain: bool
) -> Admission:
    """Return the connection's right to one chat.

    Args:
        token: what the client sent as `auth.token`.
        accept_plain: whether the plain chat id is enough.

    Raises:
        NotAdmitted: when the token opens no chat.
        Unavailable: when deals can't be asked about a chat that was never entered before.
    """
    if not isinstance(token, str) or len(token) > MAX_TOKEN:
        raise NotAdmitted("auth.token must be a participant token or a chat id")
    claims = _plain(token) if accept_plain else None
    claims = claims or tokens.read(token, clock.now())
    if claims is None:
        raise NotAdmitted("the token is not accepted")
    chat = await _find(database, deals, claims.chat_id)
    if chat is None or (claims.user_id is not None and chat.role_of(claims.user_id) is not claims.role):
        raise NotAdmitted("there is no such chat")
    return Admission(chat, claims)


def _plain(token: str) -> Claims | None:
    try:
        return Claims(UUID(token))
    except ValueError:
        return None


async def _find(database: Database, deals: Deals, chat_id: UUID) -> Chat | None:
    """Look at home, then ask deals: the deal may be younger than any event that told of it."""
    async with database.transaction() as connection:
        chat = await messages.find_chat(connection, chat_id)
    if chat is not None:
        return chat
    chat = await deals.find_chat(chat_id)
    if chat is not None:
        async with database.transaction() as connection:
            await messages.keep_chat(connection, chat)
    return chat
