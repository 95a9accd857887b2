"""Withdrawals in PostgreSQL. `due_at` is the lease and the backoff in one."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from common.db import Connection, Row, UniqueViolation
from payments.domain.model import Withdrawal, WithdrawalStatus

_WITHDRAWAL = """
    w.id, w.tenant_id, w.user_id, w.gateway_id, w.currency, w.amount::text, w.address, w.status, w.reason,
    w.ends_as, w.needs_approval, w.requested_by, w.approved_by, w.version, w.tries, w.last_error,
    (SELECT o.txid FROM outgoing o WHERE o.withdrawal_id = w.id ORDER BY o.id DESC LIMIT 1) AS txid,
    w.created_at, w.updated_at
"""
_LIVE = "('requested', 'queued', 'sent', 'paying', 'returning')"
_INSERT = sa.text(
    f"""
    INSERT INTO withdrawal AS w (tenant_id, user_id, gateway_id, currency, amount, address, needs_approval,
                                 requested_by, request_key, due_at, created_at, updated_at)
    VALUES (:tenant_id, :user_id, :gateway_id, :currency, :amount, :address, :needs_approval,
            :requested_by, :request_key, :due_at, :now, :now)
    RETURNING {_WITHDRAWAL}
    """
)
_READ = sa.text(f"SELECT {_WITHDRAWAL} FROM withdrawal w WHERE w.id = :id AND w.tenant_id = :tenant_id")
_BY_KEY = sa.text(
    f"SELECT {_WITHDRAWAL} FROM withdrawal w WHERE w.tenant_id = :tenant_id AND w.request_key = :request_key"
)
_PAGE = sa.text(
    f"""
    SELECT {_WITHDRAWAL} FROM withdrawal w
     WHERE w.tenant_id = :tenant_id AND w.id < :before
       AND (CAST(:user_id AS bigint) IS NULL OR w.user_id = :user_id)
       AND (CAST(:status AS text) IS NULL OR w.status = :status)
     ORDER BY w.id DESC LIMIT :limit
    """
)
_LOCK = sa.text(f"SELECT {_WITHDRAWAL} FROM withdrawal w WHERE w.id = :id FOR NO KEY UPDATE OF w")
_CLAIM = sa.text(
    f"""
    UPDATE withdrawal w SET due_at = :now + CAST(:lease AS interval)
     WHERE w.id IN (SELECT d.id FROM withdrawal d WHERE d.status IN {_LIVE} AND d.due_at <= :now
                     ORDER BY d.due_at, d.id LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING {_WITHDRAWAL}
    """
)
_SAVE = sa.text(
    """
    UPDATE withdrawal SET status = :status, reason = :reason, ends_as = :ends_as, approved_by = :approved_by,
                          version = :version, last_error = NULL, updated_at = :now
     WHERE id = :id
    """
)
_POSTPONE = sa.text(
    "UPDATE withdrawal SET due_at = :due_at, tries = tries + :failed, last_error = :error WHERE id = :id"
)
_LOCK_KEY = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_REQUESTED_SINCE = sa.text(
    """
    SELECT COALESCE(sum(amount), 0)::text FROM withdrawal
     WHERE requested_by = :key_id AND currency = :currency AND created_at > :since
       AND status NOT IN ('failed', 'rejected', 'cancelled')
    """
)
_PROMISED = sa.text(
    """
    SELECT w.id, w.gateway_id, w.amount::text, o.promised_sun
      FROM outgoing o JOIN withdrawal w ON w.id = o.withdrawal_id
     WHERE o.state = 'sent' AND o.payer = :payer AND w.id <> :id ORDER BY w.id
    """
)
_LATE = sa.text(
    """
    SELECT id, status, last_error FROM withdrawal
     WHERE status IN ('requested', 'paying', 'returning') AND updated_at < :before
        OR status = 'sent' AND updated_at < CAST(:before AS timestamptz) - interval '15 minutes'
     ORDER BY id LIMIT :limit
    """
)


class RequestKnown(Exception):
    """The Idempotency-Key made a withdrawal before."""


def _withdrawal(row: Row) -> Withdrawal:
    values: dict[str, Any] = dict(row)
    ends_as = values["ends_as"]
    values |= {"amount": int(values["amount"]), "status": WithdrawalStatus(values["status"])}
    return Withdrawal(**values | {"ends_as": None if ends_as is None else WithdrawalStatus(ends_as)})


async def insert(
    connection: Connection,
    owner: tuple[int, int],
    move: tuple[str, str, int, str],
    asked: tuple[int, str | None, bool],
    times: tuple[datetime, datetime],
) -> Withdrawal:
    """Store a withdrawal.

    Raises:
        RequestKnown: when its Idempotency-Key made one before; roll back.

    Args:
        owner: the tenant and the user.
        move: the gateway, the currency, the amount, and the address.
        asked: the key that asked, its Idempotency-Key, and whether somebody else has to approve.
        times: now, and until when nobody else goes on with it.
    """
    values = {
        "tenant_id": owner[0],
        "user_id": owner[1],
        "gateway_id": move[0],
        "currency": move[1],
        "amount": move[2],
        "address": move[3],
        "requested_by": asked[0],
        "request_key": asked[1],
        "needs_approval": asked[2],
        "now": times[0],
        "due_at": times[1],
    }
    try:
        return _withdrawal(await connection.one(_INSERT, values))
    except UniqueViolation as error:
        if "request_key" in str(error):
            raise RequestKnown from error
        raise


async def read(connection: Connection, tenant_id: int, withdrawal_id: int) -> Withdrawal | None:
    """Return a withdrawal of the tenant, or None."""
    row = await connection.first(_READ, {"id": withdrawal_id, "tenant_id": tenant_id})
    return None if row is None else _withdrawal(row)


async def by_request_key(connection: Connection, tenant_id: int, request_key: str) -> Withdrawal | None:
    """Return the withdrawal that an Idempotency-Key made, or None."""
    row = await connection.first(_BY_KEY, {"tenant_id": tenant_id, "request_key": request_key})
    return None if row is None else _withdrawal(row)


async def page(
    connection: Connection, tenant_id: int, before: int, only: tuple[int | None, str | None], limit: int
) -> list[Withdrawal]:
    """Return withdrawals below an id, newest first; `only` those of a user, or in a status."""
    values = {"tenant_id": tenant_id, "before": before, "user_id": only[0], "status": only[1], "limit": limit}
    return [_withdrawal(row) for row in await connection.execute(_PAGE, values)]


async def lock(connection: Connection, withdrawal_id: int) -> Withdrawal:
    """Return a withdrawal, locked until the transaction ends."""
    return _withdrawal(await connection.one(_LOCK, {"id": withdrawal_id}))


async def claim_due(connection: Connection, now: datetime, lease: timedelta, limit: int) -> list[Withdrawal]:
    """Lease the withdrawals that are due to the caller, oldest first."""
    rows = await connection.execute(_CLAIM, {"now": now, "lease": lease, "limit": limit})
    return sorted((_withdrawal(row) for row in rows), key=lambda found: found.id)


async def save(connection: Connection, withdrawal: Withdrawal) -> None:
    """Store a locked withdrawal's new state."""
    values = {
        "id": withdrawal.id,
        "status": withdrawal.status.value,
        "reason": withdrawal.reason,
        "ends_as": withdrawal.ends_as.value if withdrawal.ends_as else None,
        "approved_by": withdrawal.approved_by,
        "version": withdrawal.version,
        "now": withdrawal.updated_at,
    }
    await connection.execute(_SAVE, values)


async def postpone(connection: Connection, withdrawal_id: int, due_at: datetime, error: str | None) -> None:
    """Look at a withdrawal again at `due_at`; `error` counts a failure."""
    values = {"id": withdrawal_id, "due_at": due_at, "failed": int(error is not None), "error": error}
    await connection.execute(_POSTPONE, values)


async def requested_since(connection: Connection, key_id: int, currency: str, since: datetime) -> int:
    """Return what a key asked for since a time; nobody else asks with that key until the transaction ends."""
    await connection.execute(_LOCK_KEY, {"name": f"withdrawal:{key_id}:{currency}"})
    values = {"key_id": key_id, "currency": currency, "since": since}
    return int(await connection.value(_REQUESTED_SINCE, values))


async def promised(connection: Connection, payer: str, other_than: int) -> list[tuple[int, str, int, int]]:
    """Return a wallet's payouts that are out: id, gateway, amount, and what each may burn."""
    rows = await connection.execute(_PROMISED, {"payer": payer, "id": other_than})
    return [(row[0], row[1], int(row[2]), row[3]) for row in rows]


async def lock_wallet(connection: Connection, payer: str) -> None:
    """Let nobody else promise what this wallet holds until the transaction ends."""
    await connection.execute(_LOCK_KEY, {"name": f"payer:{payer}"})


async def late(connection: Connection, before: datetime, limit: int) -> list[dict[str, Any]]:
    """Return withdrawals that have waited for the ledger since before a time, or long for the chain."""
    rows = await connection.execute(_LATE, {"before": before, "limit": limit})
    return [dict(row) for row in rows]
