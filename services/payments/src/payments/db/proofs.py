"""How far our books were proven: marks, and what was found wrong and is looked at again.

A mark moves on only to what was seen a while before the pass began: an operation that was written earlier, and
committed later, was in sight by then.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from common.db import TRANSACTION_TIMEOUT_MS, Connection
from payments.db.books import Asset, WalletBook

SETTLED = timedelta(milliseconds=2 * TRANSACTION_TIMEOUT_MS)
"""After this no transaction of a service is open that was when something was seen."""

_NOW = sa.text("SELECT now()")
_MARK = sa.text("SELECT place FROM proof_mark WHERE name = :name")
_SET = sa.text(
    """
    INSERT INTO proof_mark (name, place) VALUES (:name, :place)
    ON CONFLICT (name) DO UPDATE SET place = excluded.place
    """
)
_TRAIL = sa.text(
    """
    INSERT INTO proof_mark AS m (name, place, next_place, next_since) VALUES (:name, :from_place, :seen, now())
    ON CONFLICT (name) DO UPDATE SET place = m.next_place, next_place = excluded.next_place, next_since = now()
     WHERE m.next_since <= :settled
    """
)
_SUSPECTS = sa.text("SELECT key FROM proof_suspect WHERE name = :name ORDER BY key LIMIT :limit")
_SUSPECT = sa.text("INSERT INTO proof_suspect SELECT :name, unnest(CAST(:keys AS text[])) ON CONFLICT DO NOTHING")
_CLEAR = sa.text("DELETE FROM proof_suspect WHERE name = :name AND key = ANY(:keys)")
# Each transfer and fee of our own wallets that was stored since their sum was, and of these what has settled.
_OWN_WALLETS = sa.text(
    """
    SELECT w.address, (COALESCE(p.units, 0) + new.units)::text, (COALESCE(p.units, 0) + new.settled)::text
      FROM own_wallet w
      LEFT JOIN proven_sum p ON (p.network, p.address, p.currency) = (w.network, w.address, :currency)
     CROSS JOIN LATERAL (
        SELECT COALESCE(sum(m.units), 0) AS units,
               COALESCE(sum(m.units) FILTER (WHERE m.at <= :settled), 0) AS settled
          FROM (SELECT t.amount AS units, t.stored_at AS at FROM transfer t
                 WHERE t.network = w.network AND t.to_address = w.address AND t.currency = :currency
                   AND t.stored_at > COALESCE(p.until, '-infinity')
                UNION ALL
                SELECT -t.amount, t.stored_at FROM transfer t
                 WHERE t.network = w.network AND t.from_address = w.address AND t.currency = :currency
                   AND t.stored_at > COALESCE(p.until, '-infinity')
                UNION ALL
                SELECT -o.fee_sun, o.settled_at FROM outgoing o
                 WHERE :native AND o.network = w.network AND o.payer = w.address AND o.fee_sun > 0
                   AND o.settled_at > COALESCE(p.until, '-infinity')) m) new
     WHERE w.network = :network ORDER BY w.address
    """
)
_SET_SUM = sa.text(
    """
    INSERT INTO proven_sum (network, address, currency, units, until)
    VALUES (:network, :address, :currency, CAST(CAST(:units AS text) AS numeric), :until)
    ON CONFLICT (network, address, currency) DO UPDATE SET units = excluded.units, until = excluded.until
     WHERE proven_sum.until < excluded.until
    """
)
_FORGET_SUM = sa.text(
    "DELETE FROM proven_sum WHERE network = :network AND address = :address AND currency = :currency"
)


@dataclass(frozen=True, slots=True)
class OwnSum:
    """What a wallet of our own should have, and what of it can't change any more."""

    book: WalletBook
    settled: int


async def now(connection: Connection) -> datetime:
    """Return the database's time, by which all of this goes."""
    found: datetime = await connection.value(_NOW)
    return found


async def mark(connection: Connection, name: str, beginning: str) -> str:
    """Return up to where something was compared."""
    row = await connection.first(_MARK, {"name": name})
    return beginning if row is None else str(row[0])


async def set_mark(connection: Connection, name: str, place: str) -> None:
    """Go on from here the next time."""
    await connection.execute(_SET, {"name": name, "place": place})


async def trail(connection: Connection, name: str, places: tuple[str, str], began: datetime) -> None:
    """Move a mark to what was seen long enough before this pass began, and note what it has seen itself.

    Args:
        places: where the pass began to read, and what it has seen.
        began: when it began, by the database's time.
    """
    values = {"name": name, "from_place": places[0], "seen": places[1], "settled": began - SETTLED}
    await connection.execute(_TRAIL, values)


async def suspects(connection: Connection, name: str, limit: int) -> list[str]:
    """Return what was wrong when it was looked at last."""
    return [row[0] for row in await connection.execute(_SUSPECTS, {"name": name, "limit": limit})]


async def suspect(connection: Connection, name: str, wrong: Collection[str], right: Collection[str]) -> None:
    """Look at what is wrong again in the next pass, and not at what is right by now."""
    await connection.execute(_SUSPECT, {"name": name, "keys": sorted(wrong)})
    await connection.execute(_CLEAR, {"name": name, "keys": sorted(right)})


async def own_sums(connection: Connection, asset: Asset, began: datetime) -> list[OwnSum]:
    """Return what our own wallets should have, from the sums that are proven and what came since."""
    values = asset.values | {"settled": began - SETTLED}
    rows = await connection.execute(_OWN_WALLETS, values)
    return [OwnSum(WalletBook(0, row[0], int(row[1])), int(row[2])) for row in rows]


async def set_sum(connection: Connection, asset: Asset, found: OwnSum, began: datetime) -> None:
    """Add to what is proven what has settled by now."""
    values = {"network": asset.network, "address": found.book.address, "currency": asset.currency}
    await connection.execute(_SET_SUM, values | {"units": str(found.settled), "until": began - SETTLED})


async def forget_sum(connection: Connection, asset: Asset, address: str) -> None:
    """Let the next pass sum the whole history of a wallet."""
    values = {"network": asset.network, "address": address, "currency": asset.currency}
    await connection.execute(_FORGET_SUM, values)
