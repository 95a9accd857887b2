"""What chat must be able to prove: sequences without gaps, and every message told.

Sequences are counted for some chats whole, and for others from where their newest messages begin, so that a pass
costs what is new and a turn of the rest, however long the history is.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from chat.domain.turns import Turn
from common.db import Connection

NAMED = 20
NEWEST = 20_000
"""So many messages are looked at in each pass, whosever turn it is."""

_GAPS = sa.text(
    """
    WITH proven AS (
        SELECT id, 0::bigint AS base FROM chat WHERE id BETWEEN :low AND :high
        UNION ALL
        SELECT chat_id, min(seq) - 1 FROM (SELECT chat_id, seq FROM message ORDER BY id DESC LIMIT :newest) newest
         WHERE chat_id NOT BETWEEN :low AND :high GROUP BY chat_id
    )
    SELECT c.id::text AS chat_id, c.last_seq, p.base + m.n AS messages, m.top
      FROM proven p JOIN chat c ON c.id = p.id CROSS JOIN LATERAL (
        SELECT count(*) AS n, COALESCE(max(seq), p.base) AS top FROM message WHERE chat_id = c.id AND seq > p.base
      ) m
     WHERE c.last_seq <> p.base + m.n OR c.last_seq <> m.top ORDER BY c.id LIMIT :limit
    """
)
_SYSTEM_GAPS = sa.text(
    """
    SELECT c.id::text AS chat_id, c.last_system_seq, e.n AS events, e.top FROM chat c CROSS JOIN LATERAL (
        SELECT count(*) AS n, COALESCE(max(seq), 0) AS top FROM system_event WHERE chat_id = c.id
      ) e
     WHERE c.id BETWEEN :low AND :high AND (c.last_system_seq <> e.n OR c.last_system_seq <> e.top)
     ORDER BY c.id LIMIT :limit
    """
)
_HOW_MANY = sa.text("SELECT GREATEST(reltuples, 0)::bigint FROM pg_class WHERE oid = 'message'::regclass")
# Told of up to where the chat says, without a gap between the events of these days; what is not told is noted.
_NOT_TOLD = sa.text(
    """
    WITH told AS (
        SELECT split_part(envelope->>'aggregate', ':', 2)::uuid AS chat_id,
               (envelope->>'aggregate_version')::bigint AS seq,
               (envelope->'data'->>'first_seq')::bigint AS first_seq
          FROM outbox WHERE subject = 'chat.message' AND created_at >= :since
    ), gaps AS (
        SELECT chat_id, seq, first_seq, lag(seq) OVER (PARTITION BY chat_id ORDER BY seq) AS before FROM told
    )
    SELECT chat_id::text, seq AS version, 'a gap before it' AS wrong FROM gaps WHERE before + 1 < first_seq
    UNION ALL
    SELECT c.id::text, c.told_seq, 'the last event is another' FROM chat c
      JOIN (SELECT chat_id, max(seq) AS seq FROM told GROUP BY chat_id) t ON t.chat_id = c.id
     WHERE c.told_seq <> t.seq
    UNION ALL
    SELECT c.id::text, c.last_seq, 'nobody will tell' FROM chat c
     WHERE c.told_seq < c.last_seq AND NOT EXISTS (SELECT FROM untold u WHERE u.chat_id = c.id)
    ORDER BY 1, 2 LIMIT :limit
    """
)


async def count_messages(connection: Connection) -> int:
    """Return about how many messages there are, as PostgreSQL estimates."""
    return int(await connection.value(_HOW_MANY))


async def check(connection: Connection, turn: Turn, since: datetime) -> dict[str, list[dict[str, Any]]]:
    """Return the violations per check, at most `NAMED` of each.

    Args:
        turn: the chats whose sequences are counted whole.
        since: from when on events are looked for in the outbox.
    """
    whole = {"low": turn.low, "high": turn.high, "limit": NAMED}
    gaps = await connection.execute(_GAPS, {**whole, "newest": NEWEST})
    system_gaps = await connection.execute(_SYSTEM_GAPS, whole)
    not_told = await connection.execute(_NOT_TOLD, {"since": since, "limit": NAMED})
    return {
        "seq_without_gaps": [dict(row) for row in gaps],
        "system_seq_without_gaps": [dict(row) for row in system_gaps],
        "change_not_told": [dict(row) for row in not_told],
    }
