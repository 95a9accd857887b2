"""Our side of what must agree: deposits with the ledger, wallets with the chain, changes with the outbox."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from common.db import Connection
from payments.domain.model import Stored

_KEY = "t.network || ':' || t.txid || ':' || t.log_index"
_STORED = sa.text(
    f"""
    SELECT {_KEY} AS key, t.amount::text, t.applied_at IS NOT NULL FROM transfer t
      JOIN unnest(CAST(:networks AS text[]), CAST(:txids AS text[]), CAST(:logs AS integer[]))
        AS w (network, txid, log_index) USING (network, txid, log_index)
     WHERE t.class = 'deposit'
    """
)
_STORED_BOOKINGS = sa.text("SELECT key, amount::text, applied_at IS NOT NULL FROM booking WHERE key = ANY(:keys)")
_BOOKINGS_PAGE = sa.text(
    """
    SELECT key, amount::text, applied_at IS NOT NULL FROM booking WHERE key > :after ORDER BY key LIMIT :limit
    """
)
_PAGE = sa.text(
    f"""
    SELECT {_KEY} AS key, t.amount::text, t.applied_at IS NOT NULL, t.network, t.txid, t.log_index FROM transfer t
     WHERE t.class = 'deposit' AND (t.network, t.txid, t.log_index) > (:network, :txid, :log_index)
     ORDER BY t.network, t.txid, t.log_index LIMIT :limit
    """
)
# What the stored solid transfers say that a wallet has; who sends a transaction pays its fee in the native asset.
_UNITS = """
    (COALESCE((SELECT sum(t.amount) FROM transfer t
                WHERE t.network = w.network AND t.to_address = w.address AND t.currency = :currency), 0)
   - COALESCE((SELECT sum(t.amount) FROM transfer t
                WHERE t.network = w.network AND t.from_address = w.address AND t.currency = :currency), 0)
   - CASE WHEN :native THEN COALESCE((SELECT sum(o.fee_sun) FROM outgoing o
                WHERE o.network = w.network AND o.payer = w.address AND o.fee_sun > 0), 0) ELSE 0 END)::text
"""
_WALLETS = sa.text(
    f"""
    SELECT w.id, w.address, {_UNITS} AS units
      FROM wallet w WHERE w.network = :network AND w.id > :after ORDER BY w.id LIMIT :limit
    """
)
_OWN_WALLETS = sa.text(
    f"SELECT 0, w.address, {_UNITS} AS units FROM own_wallet w WHERE w.network = :network ORDER BY w.address"
)
_UNITS_OF = sa.text(
    f"SELECT {_UNITS} FROM (SELECT CAST(:network AS text) AS network, CAST(:address AS text) AS address) w"
)
_UNTOLD = sa.text(
    """
    SELECT f.aggregate, f.version FROM (
        SELECT 'payment:' || p.id, v.version FROM payment p, generate_series(1, p.version) AS v (version)
         WHERE p.created_at >= :since
        UNION ALL
        SELECT 'transfer:' || t.network || ':' || t.txid || ':' || t.log_index, 1 FROM transfer t
         WHERE t.class = 'deposit' AND t.block_time >= :since
        UNION ALL
        SELECT 'withdrawal:' || w.id, v.version FROM withdrawal w, generate_series(1, w.version) AS v (version)
         WHERE w.created_at >= :since
        UNION ALL
        SELECT 'sweep:' || s.id, 1 FROM sweep s WHERE s.step = 'swept' AND s.updated_at >= :since
      ) AS f (aggregate, version)
     WHERE NOT EXISTS (SELECT FROM outbox o WHERE o.envelope->>'aggregate' = f.aggregate
                          AND (o.envelope->>'aggregate_version')::bigint = f.version)
     ORDER BY 1, 2 LIMIT :limit
    """
)

_DEPOSIT_KEY = re.compile(r"[a-z0-9_]+:[0-9a-f]+:-?[0-9]+")
Place = tuple[str, str, int]
BEGINNING: Place = ("", "", -(2**31))


@dataclass(frozen=True, slots=True)
class Asset:
    """What is counted: a currency on a network, and whether fees are paid in it."""

    network: str
    currency: str
    native: bool

    @property
    def values(self) -> dict[str, Any]:
        """The parameters that name it."""
        return {"network": self.network, "currency": self.currency, "native": self.native}


@dataclass(frozen=True, slots=True)
class WalletBook:
    """A wallet and what our stored transfers say that it has."""

    id: int
    address: str
    units: int


async def stored(connection: Connection, keys: Sequence[str]) -> dict[str, Stored]:
    """Return what we stored under these keys of the ledger: deposits, and what else is booked."""
    booked = {
        row[0]: Stored(row[0], int(row[1]), row[2])
        for row in await connection.execute(_STORED_BOOKINGS, {"keys": list(keys)})
    }
    parts = [key.split(":") for key in keys if key not in booked and _DEPOSIT_KEY.fullmatch(key)]
    values = {
        "networks": [p[0] for p in parts],
        "txids": [p[1] for p in parts],
        "logs": [int(p[2]) for p in parts],
    }
    rows = await connection.execute(_STORED, values)
    return booked | {key: Stored(key, int(amount), applied) for key, amount, applied in rows}


async def page(connection: Connection, after: Place, limit: int) -> tuple[list[Stored], Place]:
    """Return a page of deposits in the order of their identity, and the place after it."""
    values = {"network": after[0], "txid": after[1], "log_index": after[2], "limit": limit}
    rows = await connection.execute(_PAGE, values)
    found = [Stored(row[0], int(row[1]), row[2]) for row in rows]
    return found, ((rows[-1][3], rows[-1][4], rows[-1][5]) if rows else after)


async def bookings(connection: Connection, after: str, limit: int) -> list[Stored]:
    """Return a page of bookings in the order of their keys."""
    rows = await connection.execute(_BOOKINGS_PAGE, {"after": after, "limit": limit})
    return [Stored(row[0], int(row[1]), row[2]) for row in rows]


async def wallets(connection: Connection, asset: Asset, after: int, limit: int) -> list[WalletBook]:
    """Return what deposit wallets above an id should have, by our stored transfers."""
    values = asset.values | {"after": after, "limit": limit}
    return [WalletBook(r[0], r[1], int(r[2])) for r in await connection.execute(_WALLETS, values)]


async def own_wallets(connection: Connection, asset: Asset) -> list[WalletBook]:
    """Return what our own wallets should have."""
    return [WalletBook(r[0], r[1], int(r[2])) for r in await connection.execute(_OWN_WALLETS, asset.values)]


async def units_of(connection: Connection, asset: Asset, address: str) -> int:
    """Return what our stored transfers say that an address has."""
    return int(await connection.value(_UNITS_OF, asset.values | {"address": address}))


async def untold(connection: Connection, since: datetime, limit: int) -> list[dict[str, Any]]:
    """Return changes since a time that no event in the outbox tells."""
    rows = await connection.execute(_UNTOLD, {"since": since, "limit": limit})
    return [dict(row) for row in rows]
