"""Our side of what must agree: deposits with the ledger, wallets with the chain, changes with the outbox."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from common.db import Connection

_KEY = "t.network || ':' || t.txid || ':' || t.log_index"
_NAMED = """
    JOIN unnest(CAST(:networks AS text[]), CAST(:txids AS text[]), CAST(:logs AS integer[]))
      AS w (network, txid, log_index)
"""
_STORED = sa.text(
    f"""
    SELECT {_KEY} AS key, t.amount::text FROM transfer t {_NAMED} USING (network, txid, log_index)
     WHERE t.class = 'deposit'
    """
)
_STORED_BOOKINGS = sa.text("SELECT key, amount::text FROM booking WHERE key = ANY(:keys)")
_DEPOSITS = """
    SELECT t.network || ':' || t.txid || ':' || t.log_index, t.amount::text FROM transfer t
     WHERE t.class = 'deposit' AND t.applied_at IS NOT NULL
       AND (t.network, t.txid, t.log_index) > (:network, :txid, :log_index) {}
     ORDER BY t.network, t.txid, t.log_index LIMIT :limit
"""
_BOOKINGS = """
    SELECT key, amount::text FROM booking
     WHERE applied_at IS NOT NULL AND key > :after {} ORDER BY key LIMIT :limit
"""
_UNPROVEN = "AND NOT proven"
_PAGES = {
    (kind, unproven): sa.text(text.format(_UNPROVEN if unproven else ""))
    for kind, text in (("deposit", _DEPOSITS), ("booking", _BOOKINGS))
    for unproven in (True, False)
}
_SET_PROVEN = {
    "deposit": sa.text(
        """
        UPDATE transfer t SET proven = :proven
          FROM unnest(CAST(:networks AS text[]), CAST(:txids AS text[]), CAST(:logs AS integer[]))
            AS w (network, txid, log_index)
         WHERE (t.network, t.txid, t.log_index) = (w.network, w.txid, w.log_index) AND t.proven <> :proven
        """
    ),
    "booking": sa.text("UPDATE booking SET proven = :proven WHERE key = ANY(:keys) AND proven <> :proven"),
}
# What the stored solid transfers say that a wallet has; who sends a transaction pays its fee in the native asset.
_UNITS = """
    (COALESCE((SELECT sum(t.amount) FROM transfer t
                WHERE t.network = w.network AND t.to_address = w.address AND t.currency = :currency), 0)
   - COALESCE((SELECT sum(t.amount) FROM transfer t
                WHERE t.network = w.network AND t.from_address = w.address AND t.currency = :currency), 0)
   - CASE WHEN :native THEN COALESCE((SELECT sum(o.fee_sun) FROM outgoing o
                WHERE o.network = w.network AND o.payer = w.address AND o.fee_sun > 0), 0) ELSE 0 END)::text
"""
_WALLETS_AT = sa.text(
    f"""
    SELECT w.id, w.address, {_UNITS} AS units
      FROM wallet w WHERE w.network = :network AND w.address = ANY(:addresses) ORDER BY w.id
    """
)
_WALLETS = sa.text(
    f"""
    SELECT w.id, w.address, {_UNITS} AS units
      FROM wallet w WHERE w.network = :network AND w.id > :after ORDER BY w.id LIMIT :limit
    """
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
         WHERE t.class = 'deposit' AND t.stored_at >= :since
        UNION ALL
        SELECT 'withdrawal:' || w.id, v.version FROM withdrawal w, generate_series(1, w.version) AS v (version)
         WHERE w.created_at >= :since
        UNION ALL
        SELECT 'sweep:' || s.id, 1 FROM sweep s WHERE s.step = 'swept' AND s.updated_at >= :since
      ) AS f (aggregate, version)
     WHERE NOT EXISTS (SELECT FROM outbox o WHERE o.created_at >= :told_since
                          AND o.envelope->>'aggregate' = f.aggregate
                          AND (o.envelope->>'aggregate_version')::bigint = f.version)
     ORDER BY 1, 2 LIMIT :limit
    """
)

_DEPOSIT_KEY = re.compile(r"[a-z0-9_]+:[0-9a-f]+:-?[0-9]+")
Place = tuple[str, str, int]
BEGINNING: Place = ("", "", -(2**31))
CLOCKS_APART = timedelta(hours=1)
"""A change has the time of a service, its event that of the database."""


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


def _named(keys: Iterable[str]) -> dict[str, Any]:
    parts = [key.split(":") for key in keys]
    return {
        "networks": [p[0] for p in parts],
        "txids": [p[1] for p in parts],
        "logs": [int(p[2]) for p in parts],
    }


async def stored(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    """Return the amounts that we stored under these keys of the ledger: deposits, and what else is booked."""
    booked = {row[0]: int(row[1]) for row in await connection.execute(_STORED_BOOKINGS, {"keys": list(keys)})}
    named = _named(key for key in keys if key not in booked and _DEPOSIT_KEY.fullmatch(key))
    return booked | {row[0]: int(row[1]) for row in await connection.execute(_STORED, named)}


async def applied(connection: Connection, kind: str, after: str, limit: int, *, unproven: bool) -> dict[str, int]:
    """Return a page, by key, of what we noted as applied.

    Args:
        kind: `deposit` or `booking`.
        after: the last key of the page before it; empty for the first.
        unproven: only what was not found in the ledger yet.
    """
    network, txid, log_index = after.split(":") if kind == "deposit" and after else BEGINNING
    values = (
        {"network": network, "txid": txid, "log_index": int(log_index), "limit": limit}
        if kind == "deposit"
        else {"after": after, "limit": limit}
    )
    return {row[0]: int(row[1]) for row in await connection.execute(_PAGES[kind, unproven], values)}


async def set_proven(connection: Connection, kind: str, keys: Collection[str], *, proven: bool) -> None:
    """Note that the ledger has what we noted as applied, or that it has not."""
    values = _named(keys) if kind == "deposit" else {"keys": list(keys)}
    await connection.execute(_SET_PROVEN[kind], values | {"proven": proven})


async def wallets(connection: Connection, asset: Asset, after: int, limit: int) -> list[WalletBook]:
    """Return what deposit wallets above an id should have, by our stored transfers."""
    values = asset.values | {"after": after, "limit": limit}
    return [WalletBook(r[0], r[1], int(r[2])) for r in await connection.execute(_WALLETS, values)]


async def wallets_at(connection: Connection, asset: Asset, addresses: Sequence[str]) -> list[WalletBook]:
    """Return what the deposit wallets at these addresses should have."""
    rows = await connection.execute(_WALLETS_AT, asset.values | {"addresses": list(addresses)})
    return [WalletBook(r[0], r[1], int(r[2])) for r in rows]


async def units_of(connection: Connection, asset: Asset, address: str) -> int:
    """Return what our stored transfers say that an address has."""
    return int(await connection.value(_UNITS_OF, asset.values | {"address": address}))


async def untold(connection: Connection, since: datetime, limit: int) -> list[dict[str, Any]]:
    """Return changes since a time that no event in the outbox tells."""
    values = {"since": since, "told_since": since - CLOCKS_APART, "limit": limit}
    rows = await connection.execute(_UNTOLD, values)
    return [dict(row) for row in rows]
