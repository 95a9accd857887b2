"""Users in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from accounts.domain.users import Adjustment, User
from common.db import Connection

_COLUMNS = "id, tenant_id, external_id, name, version, created_at, updated_at"

_UPSERT = sa.text(
    f"""
    INSERT INTO app_user (tenant_id, external_id, name) VALUES (:tenant_id, :external_id, :name)
    ON CONFLICT (tenant_id, external_id) DO UPDATE
       SET name = excluded.name, version = app_user.version + 1, updated_at = now()
     WHERE app_user.name <> excluded.name
    RETURNING {_COLUMNS}
    """
)
_BY_EXTERNAL_ID = sa.text(
    f"SELECT {_COLUMNS} FROM app_user WHERE tenant_id = :tenant_id AND external_id = :external_id"
)
_BY_ID = sa.text(f"SELECT {_COLUMNS} FROM app_user WHERE tenant_id = :tenant_id AND id = ANY(:ids)")
_BALANCES = sa.text(
    """
    SELECT owner, currency, balance::text FROM account
     WHERE tenant_id = :tenant_id AND owner = ANY(:owners)
    """
)
# `seq` and `at` grow together under the account's lock, so the last adjustment before a time is found by halving:
# the cost does not grow with the history.
_BALANCES_AT = sa.text(
    """
    SELECT a.owner, a.currency, COALESCE(
        (WITH RECURSIVE half (low, high) AS (
            SELECT CAST(0 AS bigint), a.seq
            UNION ALL
            SELECT CASE WHEN j.at <= :at THEN j.seq ELSE h.low END,
                   CASE WHEN j.at <= :at THEN h.high ELSE j.seq - 1 END
              FROM half h JOIN adjustment j ON j.account_id = a.id AND j.seq = (h.low + h.high + 1) / 2
             WHERE h.low < h.high)
         SELECT j.balance_after::text FROM half h JOIN adjustment j ON j.account_id = a.id AND j.seq = h.low
          WHERE h.low = h.high), '0')
      FROM account a WHERE a.tenant_id = :tenant_id AND a.owner = :owner
    """
)
_BALANCES_OF_USER = sa.text(
    """
    SELECT a.currency, a.balance::text FROM app_user u
      LEFT JOIN account a ON a.tenant_id = u.tenant_id AND a.owner = :owner
     WHERE u.tenant_id = :tenant_id AND u.id = :id
    """
)
_STATEMENT = sa.text(
    """
    SELECT j.account_id, j.seq, a.currency, j.amount::text, j.balance_after::text, o.kind, o.key, j.at
      FROM account a
      JOIN adjustment j ON j.account_id = a.id AND j.seq IS NOT NULL
      JOIN operation o ON o.id = j.operation_id
     WHERE a.tenant_id = :tenant_id AND a.owner = :owner AND a.currency = :currency
       AND j.seq < :before
     ORDER BY j.seq DESC LIMIT :limit
    """
)


async def upsert(connection: Connection, tenant_id: int, external_id: int, name: str) -> tuple[User, bool]:
    """Create or rename a user; the flag tells whether anything changed."""
    values = {"tenant_id": tenant_id, "external_id": external_id, "name": name}
    row = await connection.first(_UPSERT, values)
    if row is not None:
        return User(*row), True
    return User(*(await connection.one(_BY_EXTERNAL_ID, values))), False


async def find(connection: Connection, tenant_id: int, ids: Sequence[int]) -> list[User]:
    """Return those of the users that exist in the tenant."""
    rows = await connection.execute(_BY_ID, {"tenant_id": tenant_id, "ids": list(ids)})
    return [User(*row) for row in rows]


async def balances(connection: Connection, tenant_id: int, owners: Sequence[str]) -> dict[tuple[str, str], int]:
    """Return balances in smallest units by (owner, currency); an account without a row is absent."""
    rows = await connection.execute(_BALANCES, {"tenant_id": tenant_id, "owners": list(owners)})
    return {(owner, currency): int(balance) for owner, currency, balance in rows}


async def balances_at(
    connection: Connection, tenant_id: int, owner: str, at: datetime
) -> dict[tuple[str, str], int]:
    """Return an owner's balances in smallest units as they were at a time."""
    rows = await connection.execute(_BALANCES_AT, {"tenant_id": tenant_id, "owner": owner, "at": at})
    return {(owner, currency): int(balance) for owner, currency, balance in rows}


async def balances_of_user(connection: Connection, tenant_id: int, user_id: int) -> dict[str, int] | None:
    """Return a user's balances in smallest units by currency, or None where the tenant has no such user."""
    values = {"tenant_id": tenant_id, "id": user_id, "owner": f"user:{user_id}"}
    rows = await connection.execute(_BALANCES_OF_USER, values)
    return {currency: int(balance) for currency, balance in rows if currency is not None} if rows else None


async def statement(
    connection: Connection, user: User, currency: str, before: int, limit: int
) -> list[Adjustment]:
    """Return the user's adjustments with `seq` below `before`, newest first."""
    values = {
        "tenant_id": user.tenant_id,
        "owner": f"user:{user.id}",
        "currency": currency,
        "before": before,
        "limit": limit,
    }
    rows = await connection.execute(_STATEMENT, values)
    return [Adjustment(r[0], r[1], r[2], int(r[3]), int(r[4]), r[5], r[6], r[7]) for r in rows]
