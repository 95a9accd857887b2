"""Chats and messages in PostgreSQL. `seq` is given under the chat's lock: the order of commits is its order."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from chat.domain.batch import Batch, Locked, Name, name_of
from chat.domain.model import Chat, Draft, Message, Role, Standing
from common.db import Connection, Row, UniqueViolation

_FIND_CHAT = sa.text(
    """
    SELECT id, deal_id, tenant_id, customer_id, performer_id, status, ended_at, deal_version FROM chat
     WHERE id = :id
    """
)
# What is known already stays, but for a standing that is newer.
_KEEP_CHAT = sa.text(
    """
    INSERT INTO chat AS c (id, deal_id, tenant_id, customer_id, performer_id, status, ended_at, deal_version)
    VALUES (:id, :deal_id, :tenant_id, :customer_id, :performer_id, :status, :ended_at, :version)
    ON CONFLICT (id) DO UPDATE
       SET status = excluded.status, ended_at = excluded.ended_at, deal_version = excluded.deal_version
     WHERE c.deal_version < excluded.deal_version
    """
)
_LOCK_CHATS = sa.text(
    """
    SELECT id, last_seq, status, ended_at, deal_version FROM chat
     WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
    """
)
_COLUMNS = "m.id, m.chat_id, m.seq, m.user_id, m.role, m.text, m.created_at"
_NAMED = sa.text(
    f"""
    SELECT {_COLUMNS}, m.client_msg_id
      FROM unnest(CAST(:chats AS uuid[]), CAST(:users AS bigint[]), CAST(:names AS text[]))
           AS w (chat_id, user_id, name)
      JOIN message m ON m.chat_id = w.chat_id AND COALESCE(m.user_id, 0) = COALESCE(w.user_id, 0)
                    AND m.client_msg_id = w.name
    """
)
_INSERT = sa.text(
    """
    WITH added AS (
        INSERT INTO message (chat_id, seq, user_id, role, text, created_at, client_msg_id)
        SELECT w.chat_id, w.seq, w.user_id, w.role, w.text, :now, w.name
          FROM unnest(CAST(:chats AS uuid[]), CAST(:seqs AS bigint[]), CAST(:users AS bigint[]),
                      CAST(:roles AS text[]), CAST(:texts AS text[]), CAST(:names AS text[])) WITH ORDINALITY
            AS w (chat_id, seq, user_id, role, text, name, place)
         ORDER BY w.place
        RETURNING id, chat_id, seq
    ), counted AS (
        UPDATE chat c SET last_seq = w.last_seq
          FROM unnest(CAST(:ids AS uuid[]), CAST(:lasts AS bigint[])) AS w (id, last_seq) WHERE c.id = w.id
    ), noted AS (
        INSERT INTO untold (chat_id) SELECT unnest(CAST(:ids AS uuid[])) ON CONFLICT DO NOTHING
    )
    SELECT id, chat_id, seq FROM added
    """
)
# In one statement, and so in one round trip and one commit. A chat's row is read anew once its lock is had.
_ADD = sa.text(
    """
    WITH locked AS MATERIALIZED (
        SELECT id, last_seq, ended_at FROM chat
         WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
    ), numbered AS MATERIALIZED (
        SELECT w.*, l.last_seq + row_number() OVER (PARTITION BY w.chat_id ORDER BY w.place) AS seq
          FROM unnest(CAST(:chats AS uuid[]), CAST(:users AS bigint[]), CAST(:roles AS text[]),
                      CAST(:texts AS text[]), CAST(:names AS text[])) WITH ORDINALITY
            AS w (chat_id, user_id, role, text, name, place)
          JOIN locked l ON l.id = w.chat_id
         WHERE NOT EXISTS (SELECT FROM locked WHERE ended_at <= :ended_by)
           AND (SELECT count(*) FROM locked) = cardinality(CAST(:ids AS uuid[]))
    ), added AS (
        INSERT INTO message (chat_id, seq, user_id, role, text, created_at, client_msg_id)
        SELECT chat_id, seq, user_id, role, text, :now, name FROM numbered ORDER BY place
        RETURNING id, chat_id, seq
    ), counted AS (
        UPDATE chat c SET last_seq = n.last_seq
          FROM (SELECT chat_id, max(seq) AS last_seq FROM numbered GROUP BY chat_id) n WHERE c.id = n.chat_id
    ), noted AS (
        INSERT INTO untold (chat_id) SELECT DISTINCT chat_id FROM numbered ON CONFLICT DO NOTHING
    )
    SELECT n.place, a.id, a.seq FROM numbered n JOIN added a ON a.chat_id = n.chat_id AND a.seq = n.seq
    """
)
_PAGE = sa.text(
    f"""
    SELECT {_COLUMNS} FROM message m
     WHERE m.chat_id = :chat_id AND m.seq > :after ORDER BY m.seq LIMIT :limit
    """
)


async def find_chat(connection: Connection, chat_id: UUID) -> Chat | None:
    """Return a chat that we were told of before, or None."""
    row = await connection.first(_FIND_CHAT, {"id": chat_id})
    if row is None:
        return None
    chat_id, deal_id, tenant_id, customer_id, performer_id, *standing = row
    return Chat(chat_id, deal_id, tenant_id, customer_id, performer_id, Standing(*standing))


async def keep_chat(connection: Connection, chat: Chat) -> None:
    """Keep what deals said of a chat; its standing only ever moves forward."""
    values = {
        "id": chat.id,
        "deal_id": chat.deal_id,
        "tenant_id": chat.tenant_id,
        "customer_id": chat.customer_id,
        "performer_id": chat.performer_id,
        "status": chat.standing.status,
        "ended_at": chat.standing.ended_at,
        "version": chat.standing.version,
    }
    await connection.execute(_KEEP_CHAT, values)


async def lock_chats(connection: Connection, drafts: Sequence[Draft]) -> dict[UUID, Locked]:
    """Lock the drafts' chats until the transaction ends, in the order of their ids."""
    ids = sorted({draft.chat.id for draft in drafts})
    rows = await connection.execute(_LOCK_CHATS, {"ids": ids})
    return {row[0]: Locked(row[1], Standing(*row[2:])) for row in rows}


async def find_named(connection: Connection, drafts: Sequence[Draft]) -> dict[Name, Message]:
    """Return what is stored already under the names that clients gave the drafts.

    It has to be asked after the chats are locked, in a statement of its own: an earlier one would not see what
    those committed who had the lock before us.
    """
    names = [name for draft in drafts if (name := name_of(draft)) is not None]
    if not names:
        return {}
    chats, users, texts = zip(*names, strict=True)
    values = {"chats": list(chats), "users": list(users), "names": list(texts)}
    rows = await connection.execute(_NAMED, values)
    return {(r["chat_id"], r["user_id"], r["client_msg_id"]): _message(r) for r in rows}


async def insert(connection: Connection, batch: Batch, now: datetime) -> list[Message]:
    """Store the new messages of a batch, in their order, and that they are to be told; their chats are locked."""
    if not batch.new:
        return []
    drafts, seqs = [n.draft for n in batch.new], [n.seq for n in batch.new]
    values = {
        "chats": [d.chat.id for d in drafts],
        "seqs": seqs,
        "users": [d.user_id for d in drafts],
        "roles": [d.role.value for d in drafts],
        "texts": [d.text for d in drafts],
        "names": [d.client_msg_id for d in drafts],
        "ids": list(batch.last_seqs),
        "lasts": list(batch.last_seqs.values()),
        "now": now,
    }
    rows = await connection.execute(_INSERT, values)
    by_place = {(chat_id, seq): id_ for id_, chat_id, seq in rows}
    return [
        Message(by_place[d.chat.id, seq], d.chat.id, seq, d.user_id, d.role, d.text, now)
        for d, seq in zip(drafts, seqs, strict=True)
    ]


async def add(
    connection: Connection, drafts: Sequence[Draft], now: datetime, ended_by: datetime
) -> list[Message] | None:
    """Store messages that nothing speaks against, in one statement.

    Args:
        ended_by: in a chat whose deal ended by then nothing may be said.

    Returns:
        The messages in the order of the drafts, or None, and nothing is stored: a chat's deal has ended, its row
        is gone, or a client's name for its message is known already.
    """
    values = {
        "ids": sorted({d.chat.id for d in drafts}),
        "chats": [d.chat.id for d in drafts],
        "users": [d.user_id for d in drafts],
        "roles": [d.role.value for d in drafts],
        "texts": [d.text for d in drafts],
        "names": [d.client_msg_id for d in drafts],
        "now": now,
        "ended_by": ended_by,
    }
    try:
        rows = await connection.execute(_ADD, values)
    except UniqueViolation:
        return None
    if len(rows) != len(drafts):
        return None
    places = {row[0] - 1: (row[1], row[2]) for row in rows}
    return [
        Message(places[place][0], d.chat.id, places[place][1], d.user_id, d.role, d.text, now)
        for place, d in enumerate(drafts)
    ]


async def page(connection: Connection, chat_id: UUID, after: int, limit: int) -> list[Message]:
    """Return messages with a `seq` above `after`, in order."""
    values = {"chat_id": chat_id, "after": after, "limit": limit}
    return [_message(row) for row in await connection.execute(_PAGE, values)]


def _message(r: Row) -> Message:
    return Message(r[0], r[1], r[2], r[3], Role(r[4]), r[5], r[6])
