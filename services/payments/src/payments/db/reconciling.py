"""The books at a height, and what a ledger may not know of yet: what a reconciliation compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from common.db import Connection
from payments.db.books import Asset

STAKED = "staked"
"""Where TRX is that its owner staked: still ours, in no balance."""

_BOOKED = """
    (COALESCE((SELECT sum(t.amount) FROM transfer t WHERE t.network = :network AND t.to_address = u.address
                AND t.currency = :currency AND t.height <= :height), 0)
   - COALESCE((SELECT sum(t.amount) FROM transfer t WHERE t.network = :network AND t.from_address = u.address
                AND t.currency = :currency AND t.height <= :height), 0)
   - CASE WHEN :native THEN COALESCE((SELECT sum(o.fee_sun) FROM outgoing o WHERE o.network = :network
                AND o.payer = u.address AND o.fee_sun > 0 AND o.height <= :height), 0) ELSE 0 END)::text
"""
_UNITS_AT = sa.text(f"SELECT u.address, {_BOOKED} FROM unnest(CAST(:addresses AS text[])) AS u (address)")
_WATCHED = sa.text(
    """
    SELECT w.id, w.address, w.derivation_index, w.tenant_id, w.user_id FROM wallet w
     WHERE w.network = :network AND w.id > :after AND (:all OR w.status <> 'waiting')
     ORDER BY w.id LIMIT :limit
    """
)
_COUNT = sa.text("SELECT count(*) FROM wallet w WHERE w.network = :network AND (:all OR w.status <> 'waiting')")
_OURS = """(
    SELECT address FROM wallet WHERE network = :network
    UNION SELECT address FROM own_wallet WHERE network = :network)"""
_TOTAL = sa.text(
    f"""
    WITH ours AS MATERIALIZED {_OURS}
    SELECT (COALESCE((SELECT sum(t.amount) FROM transfer t JOIN ours o ON o.address = t.to_address
                       WHERE t.network = :network AND t.currency = :currency), 0)
          - COALESCE((SELECT sum(t.amount) FROM transfer t JOIN ours o ON o.address = t.from_address
                       WHERE t.network = :network AND t.currency = :currency), 0)
          - CASE WHEN :native THEN COALESCE((SELECT sum(g.fee_sun) FROM outgoing g
                        JOIN ours o ON o.address = g.payer
                       WHERE g.network = :network AND g.fee_sun > 0), 0) ELSE 0 END)::text,
           (COALESCE((SELECT sum(t.amount) FROM transfer t
                       WHERE t.network = :network AND t.currency = :currency AND t.to_address = '{STAKED}'), 0)
          - COALESCE((SELECT sum(t.amount) FROM transfer t
                       WHERE t.network = :network AND t.currency = :currency AND t.from_address = '{STAKED}'), 0)
           )::text
    """
)
_BOOKINGS = sa.text(
    """
    SELECT key, kind, currency, amount::text, applied_at FROM booking WHERE key > :after ORDER BY key LIMIT :limit
    """
)
_DEPOSITS = sa.text(
    """
    SELECT network || ':' || txid || ':' || log_index AS key, currency, amount::text, applied_at,
           network, txid, log_index
      FROM transfer
     WHERE class = 'deposit' AND (network, txid, log_index) > (:network, :txid, :log_index)
     ORDER BY network, txid, log_index LIMIT :limit
    """
)
# Paid on the chain, and the row that tells the ledger is not written yet.
_PAID_NOT_BOOKED = sa.text(
    """
    SELECT 'withdrawal:' || w.id || '\\:payout', w.currency, w.amount::text FROM withdrawal w
     WHERE w.status = 'sent'
       AND EXISTS (SELECT FROM outgoing o WHERE o.withdrawal_id = w.id AND o.state = 'succeeded')
       AND NOT EXISTS (SELECT FROM booking b WHERE b.key = 'withdrawal:' || w.id || '\\:payout')
    """
)

Place = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Watched:
    """A wallet of ours; our own two have no index and no user."""

    id: int
    address: str
    index: int | None = None
    tenant_id: int | None = None
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """What we stored under a key of the ledger."""

    key: str
    kind: str
    currency: str
    units: int
    applied_at: datetime | None = None
    """When we noted that the ledger has it."""


async def count(connection: Connection, network: str, *, everyone: bool) -> int:
    """Return how many deposit wallets there are to compare."""
    return int(await connection.value(_COUNT, {"network": network, "all": everyone}))


async def watched(
    connection: Connection, network: str, after: int, limit: int, *, everyone: bool
) -> list[Watched]:
    """Return deposit wallets above an id; those that never got anything only for `everyone`."""
    values = {"network": network, "after": after, "limit": limit, "all": everyone}
    return [Watched(*row) for row in await connection.execute(_WATCHED, values)]


async def units_at(connection: Connection, asset: Asset, addresses: Sequence[str], height: int) -> dict[str, int]:
    """Return what addresses had at a height, by our stored transfers and fees."""
    values = asset.values | {"addresses": list(addresses), "height": height}
    return {row[0]: int(row[1]) for row in await connection.execute(_UNITS_AT, values)}


async def total(connection: Connection, asset: Asset) -> tuple[int, int]:
    """Return what all our wallets have by our books, and what of it is staked beside that."""
    units, staked = await connection.one(_TOTAL, asset.values)
    return int(units), int(staked)


async def deposits(connection: Connection, after: Place, limit: int) -> tuple[list[Item], Place]:
    """Return a page of deposits, and the place after it."""
    values = {"network": after[0], "txid": after[1], "log_index": after[2], "limit": limit}
    rows = await connection.execute(_DEPOSITS, values)
    found = [Item(row[0], "deposit", row[1], int(row[2]), row[3]) for row in rows]
    return found, ((rows[-1][4], rows[-1][5], rows[-1][6]) if rows else after)


async def bookings(connection: Connection, after: str, limit: int) -> list[Item]:
    """Return a page of what is booked besides deposits."""
    rows = await connection.execute(_BOOKINGS, {"after": after, "limit": limit})
    return [Item(row[0], row[1], row[2], int(row[3]), row[4]) for row in rows]


async def paid_not_booked(connection: Connection) -> list[Item]:
    """Return payouts that are solid and not written down for the ledger yet."""
    return [Item(row[0], "payout", row[1], int(row[2])) for row in await connection.execute(_PAID_NOT_BOOKED)]
