"""Sweeps in PostgreSQL. `due_at` is the lease and the backoff in one."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from common.db import Connection, Row
from payments.domain.model import GatewayInfo, Step, Sweep

# What a wallet was credited with and has not sent to the main wallet, solid.
_UNSWEPT = """
    COALESCE((SELECT sum(t.amount) FROM transfer t WHERE t.wallet_id = w.id AND t.class = 'deposit'
                 AND t.currency = :currency AND t.applied_at IS NOT NULL), 0)
    - COALESCE((SELECT sum(s.amount) FROM sweep s WHERE s.wallet_id = w.id AND s.currency = :currency
                   AND s.step = 'swept'), 0)
"""
_SWEEP = """
    s.id, s.wallet_id, w.tenant_id, w.user_id, s.gateway_id, w.address, w.derivation_index, s.currency,
    s.amount::text, s.step, s.tries, s.lent_sun,
    COALESCE((SELECT sum(o.fee_sun) FROM outgoing o WHERE o.sweep_id = s.id), 0)::bigint AS spent_sun
"""
_PLAN = sa.text(
    f"""
    INSERT INTO sweep (wallet_id, gateway_id, currency, amount, due_at, created_at, updated_at)
    SELECT w.id, :gateway_id, :currency, {_UNSWEPT}, :now, :now, :now FROM wallet w
     WHERE w.id = ANY(:wallets) AND {_UNSWEPT} >= :threshold AND {_UNSWEPT} > 0
       AND NOT EXISTS (SELECT FROM sweep a WHERE a.wallet_id = w.id AND a.currency = :currency
                          AND a.step <> 'swept')
     ORDER BY w.id
    ON CONFLICT DO NOTHING
    """
)
# Deleted in a statement of its own: what follows sees the credits of whoever held these rows.
_TAKE_RECHECKS = sa.text(
    """
    DELETE FROM sweep_recheck WHERE currency = :currency AND wallet_id IN (
        SELECT r.wallet_id FROM sweep_recheck r JOIN wallet w ON w.id = r.wallet_id
         WHERE r.currency = :currency AND w.network = :network
           AND NOT EXISTS (SELECT FROM sweep a WHERE a.wallet_id = r.wallet_id AND a.currency = r.currency
                              AND a.step <> 'swept')
         ORDER BY r.wallet_id LIMIT :limit FOR UPDATE OF r)
    RETURNING wallet_id
    """
)
_RECHECK_ALL = sa.text(
    """
    INSERT INTO sweep_recheck SELECT w.id, :currency FROM wallet w
     WHERE w.network = :network AND w.status = 'received' ON CONFLICT DO NOTHING
    """
)
_WALLET_AT = sa.text("SELECT id FROM wallet WHERE network = :network AND address = :address")
_LEFT_IN_WALLET = sa.text(
    """
    SELECT (COALESCE((SELECT sum(t.amount) FROM transfer t WHERE t.wallet_id = :wallet_id AND t.class = 'deposit'
                         AND t.currency = :currency), 0)
            - COALESCE((SELECT sum(s.amount) FROM sweep s WHERE s.wallet_id = :wallet_id
                           AND s.currency = :currency AND s.step = 'swept'), 0))::text
    """
)
_OTHER_UNDER_WAY = sa.text(
    """
    SELECT 1 FROM sweep WHERE wallet_id = :wallet_id AND id <> :id AND step <> 'swept'
       AND (step <> 'planned' OR lent_sun > 0)
    UNION ALL
    SELECT 1 FROM sweep WHERE wallet_id = :wallet_id AND id <> :id AND step = 'swept' AND lent_sun > 0
     LIMIT 1
    """
)
_LOCK_WALLET = sa.text("SELECT id FROM wallet WHERE id = :wallet_id FOR NO KEY UPDATE")
_UNSWEPT_OF = sa.text(f"SELECT ({_UNSWEPT})::text FROM wallet w WHERE w.id = :wallet_id")
_ALL_UNSWEPT = sa.text(
    """
    SELECT currency, sum(amount)::text
      FROM (SELECT currency, amount FROM transfer WHERE class = 'deposit' AND applied_at IS NOT NULL
            UNION ALL SELECT currency, -amount FROM sweep WHERE step = 'swept') moved
     GROUP BY currency
    """
)
_CLAIM = sa.text(
    f"""
    UPDATE sweep s SET due_at = :now + CAST(:lease AS interval)
      FROM wallet w
     WHERE w.id = s.wallet_id AND s.id IN (
           SELECT d.id FROM sweep d
            WHERE (d.step <> 'swept' OR d.lent_sun > 0) AND d.due_at <= :now AND d.gateway_id = :gateway_id
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
_LEND = sa.text("UPDATE sweep SET lent_sun = :sun WHERE id = :id")
_POSTPONE = sa.text(
    """
    UPDATE sweep SET due_at = :due_at, tries = tries + :failed, last_error = :error WHERE id = :id
    """
)


def _sweep(row: Row) -> Sweep:
    values: dict[str, Any] = dict(row)
    values |= {"amount": int(values["amount"]), "step": Step(values["step"])}
    return Sweep(**values)


async def take_rechecks(connection: Connection, gateway: GatewayInfo, limit: int) -> list[int]:
    """Return wallets whose credits changed, which no sweep is under way for; they are not returned again."""
    values = {"network": gateway.network, "currency": gateway.currency, "limit": limit}
    return [row[0] for row in await connection.execute(_TAKE_RECHECKS, values)]


async def recheck_all(connection: Connection, gateway: GatewayInfo) -> None:
    """Think of every wallet that holds something anew: the threshold may have changed."""
    await connection.execute(_RECHECK_ALL, {"network": gateway.network, "currency": gateway.currency})


async def wallet_at(connection: Connection, network: str, address: str) -> int | None:
    """Return the deposit wallet with this address, or None."""
    row = await connection.first(_WALLET_AT, {"network": network, "address": address})
    return None if row is None else int(row[0])


async def plan(
    connection: Connection, gateway: GatewayInfo, wallets: Sequence[int], threshold: int, now: datetime
) -> int:
    """Begin a sweep for each of the wallets that owes at least `threshold`; return how many."""
    values = {
        "gateway_id": gateway.id,
        "currency": gateway.currency,
        "wallets": list(wallets),
        "threshold": threshold,
        "now": now,
    }
    return await connection.count(_PLAN, values)


async def unswept(connection: Connection, wallet_id: int, currency: str) -> int:
    """Return what a wallet was credited with and has not sent on, solid."""
    values = {"wallet_id": wallet_id, "currency": currency}
    return int(await connection.value(_UNSWEPT_OF, values))


async def all_unswept(connection: Connection) -> dict[str, int]:
    """Return, by currency, what all wallets were credited with and have not sent on, solid."""
    return {row[0]: int(row[1]) for row in await connection.execute(_ALL_UNSWEPT)}


async def lock_wallet(connection: Connection, wallet_id: int, currency: str) -> int:
    """Lock a wallet; return what arrived in it, applied or not, less what was swept.

    The sum is read after the lock, so a deposit that is being stored is either in it or comes after.
    """
    await connection.execute(_LOCK_WALLET, {"wallet_id": wallet_id})
    return await left(connection, wallet_id, currency)


async def left(connection: Connection, wallet_id: int, currency: str) -> int:
    """Return what arrived in a wallet, applied or not, less what was swept."""
    values = {"wallet_id": wallet_id, "currency": currency}
    return int(await connection.value(_LEFT_IN_WALLET, values))


async def other_under_way(connection: Connection, sweep: Sweep) -> bool:
    """Tell whether another sweep of the same wallet uses its TRX or energy now."""
    values = {"wallet_id": sweep.wallet_id, "id": sweep.id}
    return await connection.first(_OTHER_UNDER_WAY, values) is not None


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


async def set_lent(connection: Connection, sweep_id: int, sun: int) -> None:
    """Note how much staked TRX a locked sweep's wallet is lent."""
    await connection.execute(_LEND, {"id": sweep_id, "sun": sun})
