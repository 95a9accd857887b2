"""What of live chats changes, read for many at once, and how far each party has read."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from chat.domain.model import ChatState, ReadMark, Role, Standing
from common.db import Connection

READ_COLUMNS = {role: f"{role.value}_read_seq" for role in Role}
_COLUMNS = ", ".join(f"c.{column}" for column in READ_COLUMNS.values())
_ASKED = ", ".join(f"COALESCE(max(w.seq) FILTER (WHERE w.role = '{r}'), 0) AS {r}" for r in READ_COLUMNS)
_MOVED = " OR ".join(f"c.{column} < LEAST(a.{r}, c.last_seq)" for r, column in READ_COLUMNS.items())
_MOVE = ", ".join(
    f"{column} = GREATEST(c.{column}, LEAST(a.{r}, c.last_seq))" for r, column in READ_COLUMNS.items()
)

_STATES = sa.text(
    f"""
    SELECT c.id, c.last_seq, c.last_system_seq, c.status, c.ended_at, c.deal_version, {_COLUMNS}
      FROM chat c WHERE c.id = ANY(CAST(:ids AS uuid[]))
    """
)
# Locked in the order of the ids, as by those who write messages. A mark only grows, to the last message at most.
_MARK = sa.text(
    f"""
    WITH asked AS (
        SELECT w.chat_id, {_ASKED}
          FROM unnest(CAST(:chats AS uuid[]), CAST(:roles AS text[]), CAST(:seqs AS bigint[]))
               AS w (chat_id, role, seq)
         GROUP BY w.chat_id
    ), before AS (
        SELECT c.id, {_COLUMNS} FROM chat c JOIN asked a ON a.chat_id = c.id
         ORDER BY c.id FOR NO KEY UPDATE OF c
    )
    UPDATE chat c
       SET {_MOVE}
      FROM asked a, before b
     WHERE a.chat_id = c.id AND b.id = c.id AND ({_MOVED})
    RETURNING c.id, {", ".join(f"NULLIF(c.{k}, b.{k})" for k in READ_COLUMNS.values())}
    """
)


async def states(connection: Connection, ids: Sequence[UUID]) -> list[ChatState]:
    """Return how these chats stand now; one that nobody entered is absent."""
    rows = await connection.execute(_STATES, {"ids": list(ids)})
    return [
        ChatState(r[0], r[1], r[2], {role: r[column] for role, column in READ_COLUMNS.items()}, Standing(*r[3:6]))
        for r in rows
    ]


async def mark_read(connection: Connection, marks: Sequence[ReadMark]) -> list[ReadMark]:
    """Move the marks forward, each to the last message at most; return those that moved, as they are now."""
    values = {
        "chats": [mark.chat_id for mark in marks],
        "roles": [mark.role.value for mark in marks],
        "seqs": [mark.seq for mark in marks],
    }
    rows = await connection.execute(_MARK, values)
    return [ReadMark(r[0], role, seq) for r in rows for role, seq in zip(READ_COLUMNS, r[1:], strict=True) if seq]
