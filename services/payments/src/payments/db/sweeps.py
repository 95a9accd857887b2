"""Sweeps in PostgreSQL. `due_at` is the lease and the backoff in one."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from common.db import Connection, Row, UniqueViolation
from payments.domain.model import Outgoing, Signed, Step, Sweep, TxState

# What a wallet was credited with and has not sent to the main wallet, solid.
_UNSWEPT = """
    COALESCE((SELECT sum(t.amount) FROM transfer t WHERE t.wallet_id = w.id AND t.class = 'deposit'
                 AND t.currency = :currency AND t.applied_at IS NOT NULL), 0)
    - COALESCE((SELECT sum(s.amount) FROM sweep s WHERE s.wallet_id = w.id AND s.currency = :currency
                   AND s.step = 'swept'), 0)
"""
_SWEEP = """
    s.id, s.wallet_id, w.tenant_id, w.user_id, w.gateway_id, w.address, w.derivation_index, s.currency,
    s.amount::text, s.step, s.tries
"""
_PLAN = sa.text(
    f"""
    INSERT INTO sweep (wallet_id, currency, amount, due_at, created_at, updated_at)
    SELECT w.id, :currency, {_UNSWEPT}, :now, :now, :now FROM wallet w
     WHERE w.gateway_id = :gateway_id AND {_UNSWEPT} >= :threshold
       AND EXISTS (SELECT FROM transfer t WHERE t.wallet_id = w.id AND t.class = 'deposit')
       AND NOT EXISTS (SELECT FROM sweep a WHERE a.wallet_id = w.id AND a.currency = :currency
                          AND a.step <> 'swept')
     ORDER BY w.id LIMIT :limit
    ON CONFLICT DO NOTHING
    """
)
_LEFT_IN_WALLET = sa.text(
    """
    SELECT (COALESCE((SELECT sum(t.amount) FROM transfer t WHERE t.wallet_id = :wallet_id AND t.class = 'deposit'
                         AND t.currency = :currency), 0)
            - COALESCE((SELECT sum(s.amount) FROM sweep s WHERE s.wallet_id = :wallet_id
                           AND s.currency = :currency AND s.step = 'swept'), 0))::text
    """
)
_LOCK_WALLET = sa.text("SELECT id FROM wallet WHERE id = :wallet_id FOR NO KEY UPDATE")
_UNSWEPT_OF = sa.text(f"SELECT ({_UNSWEPT})::text FROM wallet w WHERE w.id = :wallet_id")
_CLAIM = sa.text(
    f"""
    UPDATE sweep s SET due_at = :now + CAST(:lease AS interval)
      FROM wallet w
     WHERE w.id = s.wallet_id AND s.id IN (
           SELECT d.id FROM sweep d JOIN wallet x ON x.id = d.wallet_id
            WHERE d.step <> 'swept' AND d.due_at <= :now AND x.gateway_id = :gateway_id
            ORDER BY d.due_at LIMIT :limit FOR UPDATE OF d SKIP LOCKED)
    RETURNING {_SWEEP}
    """
)
_LOCK = sa.text(
    f"""
    SELECT {_SWEEP} FROM sweep s JOIN wallet w ON w.id = s.wallet_id WHERE s.id = :id FOR NO KEY UPDATE OF s
    """
)
_SET_STEP = sa.text(
    "UPDATE sweep SET step = :step, amount = :amount, last_error = NULL, updated_at = :now WHERE id = :id"
)
_POSTPONE = sa.text(
    """
    UPDATE sweep SET due_at = :due_at, tries = tries + :failed, last_error = :error WHERE id = :id
    """
)
_INSERT_OUTGOING = sa.text(
    """
    INSERT INTO outgoing (sweep_id, purpose, network, txid, signed, expires_at, created_at)
    VALUES (:sweep_id, :purpose, :network, :txid, :signed, :expires_at, :now)
    """
)
_LAST_OUTGOING = sa.text(
    """
    SELECT id, sweep_id, purpose, txid, signed, expires_at, state FROM outgoing
     WHERE sweep_id = :sweep_id ORDER BY id DESC LIMIT 1
    """
)
_BURY = sa.text("UPDATE outgoing SET state = 'dead' WHERE id = :id AND state = 'sent'")


class TxidTaken(Exception):
    """A transaction with this id exists: sign again with another timestamp."""


def _sweep(row: Row) -> Sweep:
    values: dict[str, Any] = dict(row)
    values |= {"amount": int(values["amount"]), "step": Step(values["step"])}
    return Sweep(**values)


async def plan(
    connection: Connection, gateway_id: str, currency: str, threshold: int, now: datetime, limit: int
) -> int:
    """Begin a sweep for each wallet that owes at least `threshold`; return how many."""
    values = {
        "gateway_id": gateway_id,
        "currency": currency,
        "threshold": threshold,
        "now": now,
        "limit": limit,
    }
    return await connection.count(_PLAN, values)


async def unswept(connection: Connection, wallet_id: int, currency: str) -> int:
    """Return what a wallet was credited with and has not sent on, solid."""
    values = {"wallet_id": wallet_id, "currency": currency}
    return int(await connection.value(_UNSWEPT_OF, values))


async def lock_wallet(connection: Connection, wallet_id: int, currency: str) -> int:
    """Lock a wallet; return what arrived in it, applied or not, less what was swept.

    The sum is read after the lock, so a deposit that is being stored is either in it or comes after.
    """
    await connection.execute(_LOCK_WALLET, {"wallet_id": wallet_id})
    values = {"wallet_id": wallet_id, "currency": currency}
    return int(await connection.value(_LEFT_IN_WALLET, values))


async def claim_due(
    connection: Connection, gateway_id: str, now: datetime, lease: timedelta, limit: int
) -> list[Sweep]:
    """Lease the sweeps that are due to the caller."""
    values = {"gateway_id": gateway_id, "now": now, "lease": lease, "limit": limit}
    return [_sweep(row) for row in await connection.execute(_CLAIM, values)]


async def lock(connection: Connection, sweep_id: int) -> Sweep:
    """Return a sweep, locked until the transaction ends."""
    return _sweep(await connection.one(_LOCK, {"id": sweep_id}))


async def set_step(connection: Connection, sweep: Sweep, step: Step, amount: int, now: datetime) -> None:
    """Move a locked sweep to its next step."""
    values = {"id": sweep.id, "step": step.value, "amount": amount, "now": now}
    await connection.execute(_SET_STEP, values)


async def postpone(connection: Connection, sweep: Sweep, due_at: datetime, error: str | None) -> None:
    """Look at a sweep again at `due_at`; `error` counts a failure."""
    values = {"id": sweep.id, "due_at": due_at, "failed": int(error is not None), "error": error}
    await connection.execute(_POSTPONE, values)


async def store_outgoing(
    connection: Connection,
    sweep: Sweep,
    purpose: str,
    network: str,
    signed: Signed,
    now: datetime,
) -> None:
    """Store a signed transaction before it is sent.

    Raises:
        TxidTaken: when an equal one exists.
    """
    values = {
        "sweep_id": sweep.id,
        "purpose": purpose,
        "network": network,
        "txid": signed.txid,
        "signed": signed.signed,
        "expires_at": signed.expires_at,
        "now": now,
    }
    try:
        await connection.execute(_INSERT_OUTGOING, values)
    except UniqueViolation as error:
        if "outgoing_network_txid_key" in str(error):
            raise TxidTaken from error
        raise


async def last_outgoing(connection: Connection, sweep_id: int) -> Outgoing | None:
    """Return the newest transaction of a sweep."""
    row = await connection.first(_LAST_OUTGOING, {"sweep_id": sweep_id})
    if row is None:
        return None
    return Outgoing(row[0], row[1], row[2], row[3], bytes(row[4]), row[5], TxState(row[6]))


async def bury(connection: Connection, outgoing: Outgoing) -> None:
    """Note that a transaction can't come into a block any more."""
    await connection.execute(_BURY, {"id": outgoing.id})
