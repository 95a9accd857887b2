"""What the other services compare with their own books: deposits, outcomes, and what deals hold."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from common.db import Connection

# Zero where the ledger was tampered with: what is compared must not fail, it must be named.
_TAKEN = """
    (SELECT COALESCE(sum(j.amount), 0) FROM adjustment j WHERE j.operation_id = o.id AND j.amount > 0)::text
"""
_DEPOSITS = sa.text(
    f"""
    SELECT o.id, o.key, o.tenant_id, {_TAKEN} AS amount_units,
           (SELECT min(a.currency) FROM adjustment j JOIN account a ON a.id = j.account_id
             WHERE j.operation_id = o.id) AS currency,
           (SELECT min(a.owner) FROM adjustment j JOIN account a ON a.id = j.account_id
             WHERE j.operation_id = o.id AND a.kind = 'external') AS outside,
           (SELECT min(a.owner) FROM adjustment j JOIN account a ON a.id = j.account_id
             WHERE j.operation_id = o.id AND a.kind <> 'external') AS inside
      FROM operation o
     WHERE o.kind = 'deposit' AND o.outcome = 'applied' AND o.id > :after ORDER BY o.id LIMIT :limit
    """
)
_OUTCOMES = sa.text(f"SELECT o.key, o.outcome, {_TAKEN} AS amount_units FROM operation o WHERE o.key = ANY(:keys)")
_HELD = sa.text(
    """
    SELECT id, tenant_id, owner, currency, balance::text AS balance_units FROM account
     WHERE kind = 'deal' AND balance > 0 AND id > :after ORDER BY id LIMIT :limit
    """
)

Rows = list[dict[str, Any]]


async def deposits(connection: Connection, after: int, limit: int) -> Rows:
    """Return applied deposits in the ledger's order, above an operation's id."""
    rows = await connection.execute(_DEPOSITS, {"after": after, "limit": limit})
    return [dict(row) for row in rows]


async def outcomes(connection: Connection, keys: Sequence[str]) -> Rows:
    """Return the stored outcomes under these keys, with what the taking side got."""
    rows = await connection.execute(_OUTCOMES, {"keys": list(keys)})
    return [dict(row) for row in rows]


async def held(connection: Connection, after: int, limit: int) -> Rows:
    """Return the accounts of deals that hold something, above an account's id."""
    rows = await connection.execute(_HELD, {"after": after, "limit": limit})
    return [dict(row) for row in rows]
