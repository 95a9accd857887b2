"""What the ledger has to know of the chain besides deposits, in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from common.db import Connection, Row
from payments.domain.model import Booking

PAUSE = "LEAST(interval '1 hour', interval '15 seconds' * power(2, LEAST(refusals, 10)))"
"""How long a posting that the ledger refused waits: it holds up nothing behind it."""

_INSERT = sa.text(
    """
    INSERT INTO booking (key, kind, tenant_id, currency, giver, taker, amount, created_at, due_at)
    VALUES (:key, :kind, :tenant_id, :currency, :giver, :taker, :amount, :now, :now) ON CONFLICT DO NOTHING
    """
)
_NOT_APPLIED = sa.text(
    """
    SELECT key, kind, tenant_id, currency, giver, taker, amount::text FROM booking
     WHERE applied_at IS NULL AND created_at <= :before ORDER BY created_at, key LIMIT :limit
    """
)
_DUE = sa.text(
    """
    SELECT key, kind, tenant_id, currency, giver, taker, amount::text FROM booking
     WHERE applied_at IS NULL AND due_at <= :now ORDER BY due_at, key LIMIT :limit
    """
)
_REFUSED = sa.text(
    f"""
    UPDATE booking SET refusals = refusals + 1, due_at = CAST(:now AS timestamptz) + {PAUSE}
     WHERE key = ANY(:keys) AND applied_at IS NULL
    """
)
_APPLIED = sa.text("UPDATE booking SET applied_at = :now WHERE key = ANY(:keys) AND applied_at IS NULL")


async def insert(connection: Connection, booking: Booking, now: datetime) -> None:
    """Store a booking, unless it was stored before."""
    values = {
        "key": booking.key,
        "kind": booking.kind,
        "tenant_id": booking.tenant_id,
        "currency": booking.currency,
        "giver": booking.giver,
        "taker": booking.taker,
        "amount": booking.amount,
        "now": now,
    }
    await connection.execute(_INSERT, values)


async def not_applied(connection: Connection, before: datetime, limit: int) -> list[Booking]:
    """Return bookings stored before a time that accounts has not answered for, oldest first."""
    rows = await connection.execute(_NOT_APPLIED, {"before": before, "limit": limit})
    return [_booking(row) for row in rows]


async def due(connection: Connection, now: datetime, limit: int) -> list[Booking]:
    """Return bookings to post, in the order in which they are due."""
    return [_booking(row) for row in await connection.execute(_DUE, {"now": now, "limit": limit})]


async def refused(connection: Connection, keys: Sequence[str], now: datetime) -> None:
    """Let bookings that accounts did not apply wait, longer each time."""
    await connection.execute(_REFUSED, {"keys": list(keys), "now": now})


def _booking(row: Row) -> Booking:
    return Booking(row[0], row[1], row[2], row[3], row[4], row[5], int(row[6]))


async def applied(connection: Connection, keys: Sequence[str], now: datetime) -> None:
    """Note that accounts has applied bookings."""
    await connection.execute(_APPLIED, {"keys": list(keys), "now": now})
