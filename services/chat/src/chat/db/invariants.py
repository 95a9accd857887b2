"""What chat must be able to prove: sequences without gaps, and every message told."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from common.db import Connection

NAMED = 20

_GAPS = sa.text(
    """
    SELECT c.id::text AS chat_id, c.last_seq, COALESCE(m.n, 0) AS messages, COALESCE(m.top, 0) AS top
      FROM chat c LEFT JOIN (SELECT chat_id, count(*) AS n, max(seq) AS top FROM message GROUP BY chat_id) m
        ON m.chat_id = c.id
     WHERE c.last_seq <> COALESCE(m.n, 0) OR c.last_seq <> COALESCE(m.top, 0) ORDER BY c.id LIMIT :limit
    """
)
_SYSTEM_GAPS = sa.text(
    """
    SELECT c.id::text AS chat_id, c.last_system_seq, COALESCE(e.n, 0) AS events, COALESCE(e.top, 0) AS top
      FROM chat c LEFT JOIN (SELECT chat_id, count(*) AS n, max(seq) AS top FROM system_event GROUP BY chat_id) e
        ON e.chat_id = c.id
     WHERE c.last_system_seq <> COALESCE(e.n, 0) OR c.last_system_seq <> COALESCE(e.top, 0)
     ORDER BY c.id LIMIT :limit
    """
)
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


async def check(connection: Connection, since: datetime) -> dict[str, list[dict[str, Any]]]:
    """Return the violations per check, at most `NAMED` of each.

    Args:
        since: from when on events are looked for in the outbox.
    """
    gaps = await connection.execute(_GAPS, {"limit": NAMED})
    system_gaps = await connection.execute(_SYSTEM_GAPS, {"limit": NAMED})
    not_told = await connection.execute(_NOT_TOLD, {"since": since, "limit": NAMED})
    return {
        "seq_without_gaps": [dict(row) for row in gaps],
        "system_seq_without_gaps": [dict(row) for row in system_gaps],
        "change_not_told": [dict(row) for row in not_told],
    }
