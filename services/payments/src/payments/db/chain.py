"""The scanner's cursor, transfers and our own transactions in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from common.db import Connection, Row
from payments.db.bookings import PAUSE
from payments.domain.model import Arrival, Arrived, Deposit, GatewayInfo, Header, Payment, Transfer, TransferClass

_CURSOR = sa.text("SELECT height, hash, block_time FROM scan_cursor WHERE network = :network")
_LOCK_CURSOR = sa.text(f"{_CURSOR.text} FOR UPDATE")
_START = sa.text(
    """
    INSERT INTO scan_cursor (network, height, hash, block_time) VALUES (:network, :height, :hash, :time)
    ON CONFLICT DO NOTHING
    """
)
_ADVANCE = sa.text(
    """
    UPDATE scan_cursor SET height = :height, hash = :hash, block_time = :time, unlike = NULL
     WHERE network = :network AND height = :old_height AND hash = :old_hash
    """
)
_SET_UNLIKE = sa.text(
    """
    UPDATE scan_cursor SET unlike = :why
     WHERE network = :network AND height = :height AND hash = :hash AND unlike IS NULL
    """
)
_UNLIKE = sa.text(
    "SELECT network, height, hash, unlike FROM scan_cursor WHERE unlike IS NOT NULL ORDER BY network"
)
_SET_HEAD = sa.text("UPDATE scan_cursor SET head_height = :height WHERE network = :network")
_INSERT_TRANSFER = sa.text(
    """
    INSERT INTO transfer (gateway_id, network, txid, log_index, class, height, block_time, currency, amount,
                          from_address, to_address, wallet_id, payment_id, arrival)
    VALUES (:gateway_id, :network, :txid, :log_index, :class, :height, :time, :currency, :amount, :from_address,
            :to_address, :wallet_id, :payment_id, :arrival)
    ON CONFLICT DO NOTHING RETURNING txid
    """
)
# A sweep is thought of anew; the update takes the row's lock, so that whoever takes the row sees this credit.
_APPLIED = sa.text(
    """
    WITH done AS (
    UPDATE transfer t SET applied_at = :now
      FROM (SELECT x.network, x.txid, x.log_index FROM transfer x
              JOIN unnest(CAST(:networks AS text[]), CAST(:txids AS text[]), CAST(:log_indexes AS int[]))
                   AS k (network, txid, log_index) USING (network, txid, log_index)
             WHERE x.applied_at IS NULL ORDER BY 1, 2, 3 FOR NO KEY UPDATE OF x) a
     WHERE (t.network, t.txid, t.log_index) = (a.network, a.txid, a.log_index) AND t.applied_at IS NULL
    RETURNING t.wallet_id, t.currency)
    INSERT INTO sweep_recheck (wallet_id, currency) SELECT DISTINCT wallet_id, currency FROM done ORDER BY 1, 2
    ON CONFLICT (wallet_id, currency) DO UPDATE SET currency = excluded.currency
    """
)
_DEPOSIT = """
    SELECT t.network, t.txid, t.log_index, t.height, w.tenant_id, w.user_id, t.gateway_id, t.payment_id,
           t.currency, t.amount::text, w.address, t.arrival
      FROM transfer t JOIN wallet w ON w.id = t.wallet_id
     WHERE t.class = 'deposit' AND t.applied_at IS NULL
"""
_NOT_APPLIED = sa.text(
    f"{_DEPOSIT} AND t.stored_at <= :before ORDER BY t.stored_at, t.txid, t.log_index LIMIT :limit"
)
_DUE = sa.text(f"{_DEPOSIT} AND t.due_at <= :before ORDER BY t.due_at, t.txid, t.log_index LIMIT :limit")
_REFUSED = sa.text(
    f"""
    UPDATE transfer t SET refusals = t.refusals + 1, due_at = CAST(:now AS timestamptz) + {PAUSE}
      FROM unnest(CAST(:networks AS text[]), CAST(:txids AS text[]), CAST(:log_indexes AS int[]))
           AS k (network, txid, log_index)
     WHERE (t.network, t.txid, t.log_index) = (k.network, k.txid, k.log_index) AND t.applied_at IS NULL
    """
)
_WAITS = sa.text(
    """
    SELECT 1 FROM transfer WHERE payment_id = :payment_id AND class = 'deposit' AND applied_at IS NULL LIMIT 1
    """
)
_IN_TIME = sa.text(
    """
    SELECT COALESCE(sum(amount), 0)::text FROM transfer
     WHERE payment_id = :payment_id AND class = 'deposit' AND currency = :currency AND block_time <= :expires_at
    """
)
_ARRIVALS = sa.text(
    """
    SELECT txid, currency, amount::text, arrival, applied_at IS NOT NULL
      FROM transfer WHERE payment_id = :payment_id AND class = 'deposit'
     ORDER BY height DESC, txid DESC, log_index DESC LIMIT :limit
    """
)
_OPENED = sa.text("SELECT address FROM own_wallet WHERE network = :network")
_OPEN = sa.text(
    """
    INSERT INTO own_wallet (network, address, opened_height) VALUES (:network, :address, :height)
    ON CONFLICT DO NOTHING RETURNING address
    """
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last block that was scanned."""

    height: int
    hash: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Owner:
    """The wallet and the payment that a deposit belongs to, and what it was to that payment."""

    wallet_id: int | None = None
    payment_id: int | None = None
    arrival: Arrival | None = None


class CursorMoved(Exception):
    """Another scanner was faster: the cursor is not where it was."""


async def cursor(connection: Connection, network: str) -> Cursor | None:
    """Return the cursor, or None before the first scan."""
    row = await connection.first(_CURSOR, {"network": network})
    return None if row is None else Cursor(*row)


async def lock_cursor(connection: Connection, network: str) -> Cursor:
    """Return the cursor, locked: no block is stored until the transaction ends."""
    return Cursor(*(await connection.one(_LOCK_CURSOR, {"network": network})))


async def start(connection: Connection, network: str, header: Header) -> None:
    """Begin to scan after this block, unless there is a cursor."""
    values = {"network": network, "height": header.height, "hash": header.hash, "time": header.time}
    await connection.execute(_START, values)


async def advance(connection: Connection, network: str, old: Cursor, header: Header) -> None:
    """Move the cursor over blocks that follow each other, to the last of them.

    Raises:
        CursorMoved: when it is not where it was; roll back.
    """
    values = {
        "network": network,
        "old_height": old.height,
        "old_hash": old.hash,
        "height": header.height,
        "hash": header.hash,
        "time": header.time,
    }
    if (await connection.count(_ADVANCE, values)) != 1:
        raise CursorMoved


async def set_unlike(connection: Connection, network: str, at: Cursor, why: str) -> bool:
    """Note that no node's chain fits on the cursor, until it moves; False when that was noted, or it moved."""
    values = {"network": network, "height": at.height, "hash": at.hash, "why": why}
    return (await connection.count(_SET_UNLIKE, values)) == 1


async def unlike(connection: Connection) -> list[dict[str, Any]]:
    """Return the cursors that no node's chain fits on."""
    return [dict(row) for row in await connection.execute(_UNLIKE)]


async def set_head(connection: Connection, network: str, height: int) -> None:
    """Note the newest block, solid or not, for display."""
    await connection.execute(_SET_HEAD, {"network": network, "height": height})


async def insert_transfer(
    connection: Connection,
    place: tuple[GatewayInfo, Header],
    transfer: Transfer,
    kind: TransferClass,
    owner: Owner,
) -> bool:
    """Store a transfer; False when it was stored before.

    Args:
        place: the gateway of the asset, and the block.
    """
    gateway, header = place
    values = {
        "network": gateway.network,
        "gateway_id": gateway.id,
        "txid": transfer.txid,
        "log_index": transfer.log_index,
        "class": kind.value,
        "height": header.height,
        "time": header.time,
        "currency": gateway.currency,
        "amount": transfer.amount,
        "from_address": transfer.from_address,
        "to_address": transfer.to_address,
        "wallet_id": owner.wallet_id,
        "payment_id": owner.payment_id,
        "arrival": owner.arrival,
    }
    return (await connection.first(_INSERT_TRANSFER, values)) is not None


async def applied(connection: Connection, keys: Sequence[str], now: datetime) -> None:
    """Note that accounts has applied deposits; a key names the network, transaction and log."""
    await connection.execute(_APPLIED, _named(keys) | {"now": now})


async def refused(connection: Connection, keys: Sequence[str], now: datetime) -> None:
    """Let deposits that accounts did not apply wait, longer each time."""
    await connection.execute(_REFUSED, _named(keys) | {"now": now})


def _named(keys: Sequence[str]) -> dict[str, Any]:
    parts = [key.split(":") for key in keys]
    return {
        "networks": [network for network, _, _ in parts],
        "txids": [txid for _, txid, _ in parts],
        "log_indexes": [int(log_index) for _, _, log_index in parts],
    }


async def due(connection: Connection, before: datetime, limit: int) -> list[Deposit]:
    """Return deposits to post that were due before a time, in that order."""
    return _deposits(await connection.execute(_DUE, {"before": before, "limit": limit}))


async def not_applied(connection: Connection, before: datetime, limit: int) -> list[Deposit]:
    """Return deposits in blocks before a time that accounts has not answered for."""
    return _deposits(await connection.execute(_NOT_APPLIED, {"before": before, "limit": limit}))


def _deposits(rows: Sequence[Row]) -> list[Deposit]:
    found: list[dict[str, Any]] = [dict(row) for row in rows]
    return [Deposit(**values | {"amount": int(values["amount"])}) for values in found]


async def all_applied(connection: Connection, payment_id: int) -> bool:
    """Tell whether accounts has applied every deposit of a payment."""
    row = await connection.first(_WAITS, {"payment_id": payment_id})
    return row is None


async def received_in_time(connection: Connection, payment: Payment) -> int:
    """Return what a payment received in blocks that were made before it expired."""
    values = {"payment_id": payment.id, "currency": payment.currency, "expires_at": payment.expires_at}
    return int(await connection.value(_IN_TIME, values))


async def arrivals(connection: Connection, payment_id: int, limit: int) -> list[Arrived]:
    """Return what arrived for a payment last, in the chain's order."""
    rows = await connection.execute(_ARRIVALS, {"payment_id": payment_id, "limit": limit})
    return [Arrived(r[0], r[1], int(r[2]), Arrival(r[3]), r[4]) for r in reversed(list(rows))]


async def opened(connection: Connection, network: str) -> set[str]:
    """Return which of our own wallets have opened their books."""
    return {row[0] for row in await connection.execute(_OPENED, {"network": network})}


async def open_wallet(connection: Connection, network: str, address: str, height: int) -> bool:
    """Open the books of a wallet of our own; False when they are open already."""
    values = {"network": network, "address": address, "height": height}
    return await connection.first(_OPEN, values) is not None
