"""The ledger's proof about itself, from one snapshot and in pieces, so that no statement grows with the history.

By induction over each account's adjustments: the first begins at zero, each next one continues the last, and the
account is where its last one ended. So the balance is the sum of the adjustments, and `seq` has no gaps.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from common.db import Connection

PIECE = 20_000
"""Rows of one statement."""
NAMED = 20
"""Violations of one kind that are named; all of them are counted."""

_LAST = "SELECT COALESCE(max(id), 0) FROM {}"

# The piece begins with the last row of the piece before, which was checked there.
_CHAIN = """
    WITH piece AS (
        SELECT account_id, seq, amount, balance_after, operation_id,
               lag(seq) OVER w AS last_seq, lag(balance_after) OVER w AS last_balance
          FROM (SELECT account_id, seq, amount, balance_after, operation_id FROM adjustment
                 WHERE seq IS NOT NULL AND (account_id, seq) >= (:account_id, :seq)
                 ORDER BY account_id, seq LIMIT :limit) rows
        WINDOW w AS (PARTITION BY account_id ORDER BY seq)
    )
"""
_CHAIN_END = sa.text(
    f"{_CHAIN} SELECT account_id, seq, count(*) OVER () FROM piece ORDER BY 1 DESC, 2 DESC LIMIT 1"
)
_CHAIN_WRONG = sa.text(
    f"""{_CHAIN}
    SELECT a.owner, a.currency, p.seq, p.amount::text AS amount, p.balance_after::text AS balance_after, o.key
      FROM piece p JOIN account a ON a.id = p.account_id JOIN operation o ON o.id = p.operation_id
     WHERE (p.account_id, p.seq) <> (:account_id, :seq)
       AND (p.seq <> COALESCE(p.last_seq, 0) + 1
            OR p.balance_after <> COALESCE(p.last_balance, 0) + p.amount)
     ORDER BY a.id, p.seq
    """
)
_BALANCES = sa.text(
    """
    SELECT a.owner, a.currency, a.balance::text AS balance, a.seq, j.balance_after::text AS balance_after,
           j.seq AS last_seq
      FROM account a
      LEFT JOIN LATERAL (SELECT seq, balance_after FROM adjustment
                          WHERE account_id = a.id AND seq IS NOT NULL ORDER BY seq DESC LIMIT 1) j ON true
     WHERE a.id > :after AND a.id <= :to AND a.kind IN ('user', 'deal', 'withdrawal')
       AND (a.seq <> COALESCE(j.seq, 0) OR a.balance <> COALESCE(j.balance_after, 0))
     ORDER BY a.id
    """
)
_OPERATIONS = sa.text(
    """
    SELECT o.key, o.kind, o.outcome, COALESCE(s.total, 0)::text AS total, COALESCE(s.legs, 0) AS legs,
           COALESCE(s.foreign_legs, 0) AS foreign_legs
      FROM operation o
      LEFT JOIN (SELECT j.operation_id, sum(j.amount) AS total, count(*) AS legs,
                        count(*) FILTER (WHERE a.tenant_id <> p.tenant_id) AS foreign_legs
                   FROM adjustment j JOIN account a ON a.id = j.account_id
                   JOIN operation p ON p.id = j.operation_id
                  WHERE j.operation_id > :after AND j.operation_id <= :to GROUP BY j.operation_id) s
        ON s.operation_id = o.id
     WHERE o.id > :after AND o.id <= :to
       AND (COALESCE(s.total, 0) <> 0 OR COALESCE(s.foreign_legs, 0) > 0
            OR (o.outcome = 'applied') <> (COALESCE(s.legs, 0) > 1))
     ORDER BY o.id
    """
)
_TOTALS = sa.text(
    """
    SELECT a.currency, o.kind, sum(j.amount)::text AS total
      FROM account a JOIN adjustment j ON j.account_id = a.id AND j.seq IS NULL
      JOIN operation o ON o.id = j.operation_id
     WHERE a.kind = 'external' GROUP BY 1, 2 ORDER BY 1, 2
    """
)
# What fees took beyond our own capital is other people's money.
_HOUSE = sa.text(
    """
    SELECT a.currency, sum(j.amount)::text AS units FROM account a JOIN adjustment j ON j.account_id = a.id
     WHERE a.kind IN ('fees', 'operator') GROUP BY 1 HAVING sum(j.amount) < 0 ORDER BY 1
    """
)
# Each movement of a user's balance is an event of that account and version, and each change of a user.
_UNTOLD = sa.text(
    """
    SELECT a.owner || ':' || a.currency AS aggregate, j.seq AS version
      FROM adjustment j JOIN account a ON a.id = j.account_id
     WHERE a.kind = 'user' AND j.at >= :since
       AND NOT EXISTS (SELECT FROM outbox o WHERE o.envelope->>'aggregate' = a.owner || ':' || a.currency
                          AND (o.envelope->>'aggregate_version')::bigint = j.seq)
    UNION ALL
    SELECT 'user:' || u.id, u.version FROM app_user u
     WHERE u.updated_at >= :since
       AND NOT EXISTS (SELECT FROM outbox o WHERE o.envelope->>'aggregate' = 'user:' || u.id
                          AND (o.envelope->>'aggregate_version')::bigint = u.version)
     ORDER BY 1, 2 LIMIT :limit
    """
)

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step of the proof looked at, and what was wrong there."""

    check: str
    rows: int
    violations: list[Found]


async def proof(connection: Connection) -> AsyncIterator[Piece]:
    """Prove the whole ledger, piece by piece, on a snapshot."""
    async for piece in _chains(connection):
        yield piece
    for check, table, statement in (
        ("balance_is_last", "account", _BALANCES),
        ("operation_is_whole", "operation", _OPERATIONS),
    ):
        last = int(await connection.value(sa.text(_LAST.format(table))))
        for after in range(0, last, PIECE):
            rows = await connection.execute(statement, {"after": after, "to": after + PIECE})
            yield Piece(check, min(PIECE, last - after), [dict(row) for row in rows])


async def _chains(connection: Connection) -> AsyncIterator[Piece]:
    """Walk every account's adjustments in order."""
    account_id, seq = 0, 0
    while True:
        place = {"account_id": account_id, "seq": seq, "limit": PIECE}
        wrong = [dict(row) for row in (await connection.execute(_CHAIN_WRONG, place))]
        end = await connection.first(_CHAIN_END, place)
        if end is None:
            return
        yield Piece("balance_after_runs", end[2], wrong)
        account_id, seq = end[0], end[1]
        if end[2] < PIECE:
            return


async def external_totals(connection: Connection) -> list[Found]:
    """Return the sum of external legs, in smallest units, per currency and kind of operation."""
    return [dict(row) for row in (await connection.execute(_TOTALS))]


async def house_deficits(connection: Connection) -> list[Found]:
    """Return the currencies in which fees exceed our own capital, with what is missing in smallest units."""
    return [dict(row) for row in (await connection.execute(_HOUSE))]


async def untold(connection: Connection, since: datetime) -> list[Found]:
    """Return changes since a time that no event in the outbox tells."""
    rows = await connection.execute(_UNTOLD, {"since": since, "limit": NAMED})
    return [dict(row) for row in rows]
