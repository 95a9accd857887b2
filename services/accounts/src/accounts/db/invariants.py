"""The ledger's proof about itself, from one snapshot."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

LIMIT = 20

_CHECKS = {
    "balance_is_sum": """
        SELECT a.owner, a.currency, a.balance::text AS balance, COALESCE(s.total, 0)::text AS total
          FROM account a
          LEFT JOIN (SELECT account_id, sum(amount) AS total, max(seq) AS last, count(*) AS n
                       FROM adjustment WHERE seq IS NOT NULL GROUP BY account_id) s ON s.account_id = a.id
         WHERE a.kind IN ('user', 'deal', 'withdrawal')
           AND (a.balance <> COALESCE(s.total, 0) OR a.seq <> COALESCE(s.last, 0) OR a.seq <> COALESCE(s.n, 0))
    """,
    "balance_after_runs": """
        SELECT a.owner, a.currency, j.seq, j.balance_after::text AS balance_after, j.running::text AS running
          FROM (SELECT account_id, seq, balance_after,
                       sum(amount) OVER (PARTITION BY account_id ORDER BY seq) AS running
                  FROM adjustment WHERE seq IS NOT NULL) j
          JOIN account a ON a.id = j.account_id
         WHERE j.balance_after <> j.running
    """,
    "operation_is_zero": """
        SELECT o.key, sum(j.amount)::text AS total
          FROM operation o JOIN adjustment j ON j.operation_id = o.id
         GROUP BY o.id, o.key HAVING sum(j.amount) <> 0
    """,
    "applied_has_legs": """
        SELECT o.key, o.outcome, count(j.account_id) AS legs
          FROM operation o LEFT JOIN adjustment j ON j.operation_id = o.id
         GROUP BY o.id, o.key, o.outcome
        HAVING (o.outcome = 'applied') <> (count(j.account_id) > 1)
    """,
    "one_tenant": """
        SELECT o.key FROM operation o
          JOIN adjustment j ON j.operation_id = o.id JOIN account a ON a.id = j.account_id
         WHERE a.tenant_id <> o.tenant_id
    """,
}
_TOTALS = """
    SELECT a.currency, o.kind, sum(j.amount)::text AS total
      FROM adjustment j JOIN account a ON a.id = j.account_id JOIN operation o ON o.id = j.operation_id
     WHERE a.kind = 'external' GROUP BY 1, 2 ORDER BY 1, 2
"""


async def check(connection: AsyncConnection) -> dict[str, list[dict[str, Any]]]:
    """Return the violations per check, at most `LIMIT` of each; all lists are empty when all is well."""
    found = {}
    for name, query in _CHECKS.items():
        rows = await connection.execute(sa.text(f"{query} LIMIT {LIMIT}"))
        found[name] = [dict(row) for row in rows.mappings()]
    return found


async def external_totals(connection: AsyncConnection) -> list[dict[str, Any]]:
    """Return the sum of external legs, in smallest units, per currency and kind of operation."""
    return [dict(row) for row in (await connection.execute(sa.text(_TOTALS))).mappings()]
