"""What a client lacks of a chat, and how the chat stands, in one statement: both are of the same moment."""

from uuid import UUID

import sqlalchemy as sa

from chat.db.live import READ_COLUMNS
from chat.domain.live import Page, Position
from chat.domain.model import ChatState, Message, Role, Standing, SystemEvent
from common.db import Connection, Row

MOST = 10_000
"""Messages of one page."""
MOST_BYTES = 1024 * 1024
"""Bytes of text, after which a page ends."""
MOST_SYSTEM_EVENTS = 1_000
_STATE, _SYSTEM, _MESSAGE = 0, 1, 2

_PAGE = sa.text(
    f"""
    SELECT {_STATE} AS kind, NULL::bigint AS id, c.last_seq AS seq, NULL::bigint AS user_id, c.status AS role,
           NULL AS text, c.ended_at AS created_at,
           ARRAY[c.last_system_seq, c.deal_version, {", ".join(f"c.{column}" for column in READ_COLUMNS.values())}]
      FROM chat c WHERE c.id = :chat_id
    UNION ALL
    (SELECT {_SYSTEM}, NULL, s.seq, NULL, s.status, s.type, s.created_at, NULL FROM system_event s
      WHERE s.chat_id = :chat_id AND s.seq > :after_system ORDER BY s.seq LIMIT {MOST_SYSTEM_EVENTS})
    UNION ALL
    (SELECT {_MESSAGE}, m.id, m.seq, m.user_id, m.role, m.text, m.created_at, NULL
       FROM (SELECT *, sum(octet_length(text)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS bytes FROM message
              WHERE chat_id = :chat_id AND seq > :after ORDER BY seq LIMIT {MOST}) m
      WHERE m.bytes - octet_length(m.text) < {MOST_BYTES})
    """
)


async def page(connection: Connection, chat_id: UUID, after: Position) -> Page:
    """Return what is stored after a position, the oldest first, up to a bound."""
    values = {"chat_id": chat_id, "after": after.message, "after_system": after.system}
    rows = await connection.execute(_PAGE, values)
    state = _state(chat_id, next(row for row in rows if row[0] == _STATE))
    told = [SystemEvent(chat_id, r[2], r[5], r[4], r[6]) for r in rows if r[0] == _SYSTEM]
    messages = [Message(r[1], chat_id, r[2], r[3], Role(r[4]), r[5], r[6]) for r in rows if r[0] == _MESSAGE]
    # UNION ALL promises no order, though it keeps it; of what is in order already, sorting is a look.
    told.sort(key=lambda event: event.seq)
    messages.sort(key=lambda message: message.seq)
    found = Page(state, tuple(told), tuple(messages), more=False)
    end = found.end(after)
    return Page(
        state,
        found.system_events,
        found.messages,
        end.message < state.last_seq or end.system < state.last_system_seq,
    )


def _state(chat_id: UUID, row: Row) -> ChatState:
    last_system_seq, version, *reads = row[7]
    standing = Standing(row[4], row[6], version)
    return ChatState(chat_id, row[2], last_system_seq, dict(zip(READ_COLUMNS, reads, strict=True)), standing)
