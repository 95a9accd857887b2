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
_UNTOLD = sa.text(
    """
    SELECT 'chat:' || m.chat_id AS aggregate, m.seq AS version FROM message m
     WHERE m.created_at >= :since
       AND NOT EXISTS (SELECT FROM outbox o WHERE o.envelope->>'aggregate' = 'chat:' || m.chat_id
                          AND (o.envelope->>'aggregate_version')::bigint = m.seq)
     ORDER BY 1, 2 LIMIT :limit
    """
)


async def check(connection: Connection, since: datetime) -> dict[str, list[dict[str, Any]]]:
    """Return the violations per check, at most `NAMED` of each.

    Args:
        since: from when on each message is looked for in the outbox.
    """
    gaps = await connection.execute(_GAPS, {"limit": NAMED})
    system_gaps = await connection.execute(_SYSTEM_GAPS, {"limit": NAMED})
    untold = await connection.execute(_UNTOLD, {"since": since, "limit": NAMED})
    return {
        "seq_without_gaps": [dict(row) for row in gaps],
        "system_seq_without_gaps": [dict(row) for row in system_gaps],
        "change_not_told": [dict(row) for row in untold],
    }
