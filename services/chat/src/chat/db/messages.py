"""Chats and messages in PostgreSQL. `seq` is given under the chat's lock: the order of commits is its order."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from chat.domain.model import Chat, Draft, Message, Role
from common.db import Connection

_FIND_CHAT = sa.text("SELECT id, deal_id, tenant_id, customer_id, performer_id FROM chat WHERE id = :id")
_INSERT_CHAT = sa.text(
    """
    INSERT INTO chat (id, deal_id, tenant_id, customer_id, performer_id)
    VALUES (:id, :deal_id, :tenant_id, :customer_id, :performer_id) ON CONFLICT DO NOTHING
    """
)
_LOCK_CHATS = sa.text(
    "SELECT id, last_seq FROM chat WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE"
)
_INSERT = sa.text(
    """
    WITH added AS (
        INSERT INTO message (chat_id, seq, user_id, role, text, created_at)
        SELECT w.chat_id, w.seq, w.user_id, w.role, w.text, :now
          FROM unnest(CAST(:chats AS uuid[]), CAST(:seqs AS bigint[]), CAST(:users AS bigint[]),
                      CAST(:roles AS text[]), CAST(:texts AS text[])) WITH ORDINALITY
            AS w (chat_id, seq, user_id, role, text, place)
         ORDER BY w.place
        RETURNING id, chat_id, seq
    ), counted AS (
        UPDATE chat c SET last_seq = w.last_seq
          FROM unnest(CAST(:ids AS uuid[]), CAST(:lasts AS bigint[])) AS w (id, last_seq) WHERE c.id = w.id
    )
    SELECT id, chat_id, seq FROM added
    """
)
_HISTORY = sa.text(
    """
    SELECT id, chat_id, seq, user_id, role, text, created_at FROM message
     WHERE chat_id = :chat_id AND seq > :after ORDER BY seq LIMIT :limit
    """
)


async def find_chat(connection: Connection, chat_id: UUID) -> Chat | None:
    """Return a chat that was entered before, or None."""
    row = await connection.first(_FIND_CHAT, {"id": chat_id})
    return None if row is None else Chat(*row)


async def insert_chat(connection: Connection, chat: Chat) -> None:
    """Keep what deals said of a chat."""
    values = {
        "id": chat.id,
        "deal_id": chat.deal_id,
        "tenant_id": chat.tenant_id,
        "customer_id": chat.customer_id,
        "performer_id": chat.performer_id,
    }
    await connection.execute(_INSERT_CHAT, values)


async def insert(connection: Connection, drafts: Sequence[Draft], now: datetime) -> list[Message]:
    """Store messages of any chats in their order; the chats are locked in the order of their ids."""
    ids = sorted({draft.chat.id for draft in drafts})
    last: Counter[UUID] = Counter({row[0]: row[1] for row in await connection.execute(_LOCK_CHATS, {"ids": ids})})
    seqs = []
    for draft in drafts:
        last[draft.chat.id] += 1
        seqs.append(last[draft.chat.id])
    values = {
        "chats": [d.chat.id for d in drafts],
        "seqs": seqs,
        "users": [d.user_id for d in drafts],
        "roles": [d.role.value for d in drafts],
        "texts": [d.text for d in drafts],
        "ids": ids,
        "lasts": [last[chat_id] for chat_id in ids],
        "now": now,
    }
    rows = await connection.execute(_INSERT, values)
    by_place = {(chat_id, seq): id_ for id_, chat_id, seq in rows}
    return [
        Message(by_place[d.chat.id, seq], d.chat.id, seq, d.user_id, d.role, d.text, now)
        for d, seq in zip(drafts, seqs, strict=True)
    ]


async def history(connection: Connection, chat_id: UUID, after: int, limit: int) -> list[Message]:
    """Return stored messages with a `seq` above `after`, in order."""
    values = {"chat_id": chat_id, "after": after, "limit": limit}
    rows = await connection.execute(_HISTORY, values)
    return [Message(r[0], r[1], r[2], r[3], Role(r[4]), r[5], r[6]) for r in rows]
