"""What an operator looks at: wallets with what went through them, and sweeps that are under way or stuck."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from common.db import Connection
from payments.domain.model import Step

_WALLETS = sa.text(
    """
    WITH money AS (
        SELECT w.id, c.currency,
               COALESCE((SELECT sum(t.amount) FROM transfer t WHERE t.wallet_id = w.id AND t.class = 'deposit'
                            AND t.currency = c.currency), 0) AS arrived,
               COALESCE((SELECT sum(s.amount) FROM sweep s WHERE s.wallet_id = w.id AND s.currency = c.currency
                            AND s.step = 'swept'), 0) AS swept
          FROM wallet w, unnest(CAST(:currencies AS text[])) AS c (currency)
         WHERE (CAST(:user_id AS bigint) IS NULL OR w.user_id = :user_id)
           AND (NOT :nonzero OR w.status = 'received')),
    chosen AS (
        SELECT id FROM money GROUP BY id HAVING NOT :nonzero OR bool_or(arrived > swept) ORDER BY id LIMIT :limit)
    SELECT w.address, w.derivation_index, w.tenant_id, w.user_id, w.status, m.currency, m.arrived::text,
           m.swept::text, l.step, l.last_error
      FROM chosen JOIN wallet w USING (id) JOIN money m USING (id)
      LEFT JOIN LATERAL (
            SELECT s.step, s.last_error FROM sweep s WHERE s.wallet_id = w.id AND s.currency = m.currency
             ORDER BY s.id DESC LIMIT 1) l ON true
     ORDER BY w.id, array_position(CAST(:currencies AS text[]), m.currency)
    """
)
_SWEEP = """
    SELECT s.id, w.address, s.currency, s.amount::text, s.step, s.tries, s.last_error, s.created_at, s.updated_at,
           s.due_at, s.lent_sun,
           COALESCE((SELECT sum(o.fee_sun) FROM outgoing o WHERE o.sweep_id = s.id), 0)::bigint AS spent_sun
      FROM sweep s JOIN wallet w ON w.id = s.wallet_id
"""
_UNFINISHED = sa.text(f"{_SWEEP} WHERE s.step <> 'swept' OR s.lent_sun > 0 ORDER BY s.id LIMIT :limit")
_UNFINISHED_IDS = sa.text(
    """
    SELECT s.id FROM sweep s JOIN wallet w ON w.id = s.wallet_id
     WHERE (s.step <> 'swept' OR s.lent_sun > 0) AND s.currency = :currency AND w.network = :network
       AND (CAST(:address AS text) IS NULL OR w.address = :address) ORDER BY s.id
    """
)
_BY_ID = sa.text(f"{_SWEEP} WHERE s.id = ANY(:ids) ORDER BY s.id")
_HASTEN = sa.text(
    """
    UPDATE sweep SET due_at = :now WHERE id = ANY(:ids) AND last_error IS NOT NULL AND due_at > :leased_until
    """
)
_STAKE_OUT = sa.text(
    "SELECT txid FROM outgoing WHERE network = :network AND purpose = 'stake' AND state = 'sent' LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class WalletMoney:
    """A wallet, and what went through it in a currency."""

    address: str
    index: int
    tenant_id: int
    user_id: int
    status: str
    currency: str
    arrived: int
    swept: int
    step: Step | None
    """Of its last sweep."""
    error: str | None


@dataclass(frozen=True, slots=True)
class SweepState:
    """A sweep as an operator sees it."""

    id: int
    address: str
    currency: str
    units: int
    step: Step
    tries: int
    error: str | None
    created_at: datetime
    updated_at: datetime
    due_at: datetime
    lent_sun: int
    spent_sun: int

    @property
    def stuck(self) -> bool:
        """Tell whether a step of it failed last."""
        return self.error is not None

    @property
    def done(self) -> bool:
        """Tell whether nothing is left to do."""
        return self.step is Step.SWEPT and self.lent_sun == 0


def _state(row: Sequence[object]) -> SweepState:
    values = list(row)
    values[3], values[4] = int(str(values[3])), Step(str(values[4]))
    return SweepState(*values)  # type: ignore[arg-type]  # the statement's columns are its fields


async def wallets(
    connection: Connection, currencies: Sequence[str], user_id: int | None, limit: int, *, nonzero: bool
) -> list[WalletMoney]:
    """Return wallets with their money in each currency; `nonzero`: those that hold some of it."""
    values = {"currencies": list(currencies), "user_id": user_id, "limit": limit, "nonzero": nonzero}
    return [
        WalletMoney(r[0], r[1], r[2], r[3], r[4], r[5], int(r[6]), int(r[7]), Step(r[8]) if r[8] else None, r[9])
        for r in await connection.execute(_WALLETS, values)
    ]


async def unfinished(connection: Connection, limit: int) -> list[SweepState]:
    """Return sweeps that are not at their end, or whose wallet still has what it was lent."""
    return [_state(tuple(row)) for row in await connection.execute(_UNFINISHED, {"limit": limit})]


async def unfinished_ids(connection: Connection, network: str, currency: str, address: str | None) -> list[int]:
    """Return the unfinished sweeps of one wallet, or of all."""
    values = {"network": network, "currency": currency, "address": address}
    return [int(row[0]) for row in await connection.execute(_UNFINISHED_IDS, values)]


async def by_id(connection: Connection, ids: Sequence[int]) -> list[SweepState]:
    """Return sweeps."""
    return [_state(tuple(row)) for row in await connection.execute(_BY_ID, {"ids": list(ids)})]


async def hasten(connection: Connection, ids: Sequence[int], now: datetime, lease: timedelta) -> None:
    """Let sweeps that wait after a failure be due now; one that somebody may have a lease of is left alone."""
    await connection.execute(_HASTEN, {"ids": list(ids), "now": now, "leased_until": now + lease})


async def stake_out(connection: Connection, network: str) -> str | None:
    """Return a stake that is on its way."""
    row = await connection.first(_STAKE_OUT, {"network": network})
    return None if row is None else str(row[0])
