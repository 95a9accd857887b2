"""The scanner's cursor, transfers and our own transactions in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from common.db import Connection
from payments.domain.model import Deposit, Header, Payment, Result, Transfer, TransferClass

_CURSOR = sa.text("SELECT height, hash, block_time FROM scan_cursor WHERE network = :network")
_START = sa.text(
    """
    INSERT INTO scan_cursor (network, height, hash, block_time) VALUES (:network, :height, :hash, :time)
    ON CONFLICT DO NOTHING
    """
)
_ADVANCE = sa.text(
    """
    UPDATE scan_cursor SET height = :height, hash = :hash, block_time = :time
     WHERE network = :network AND height = :height - 1 AND hash = :parent
    """
)
_INSERT_TRANSFER = sa.text(
    """
    INSERT INTO transfer (network, txid, log_index, class, height, block_time, currency, amount, from_address,
                          to_address, wallet_id, payment_id)
    VALUES (:network, :txid, :log_index, :class, :height, :time, :currency, :amount, :from_address,
            :to_address, :wallet_id, :payment_id)
    ON CONFLICT DO NOTHING RETURNING txid
    """
)
_APPLIED = sa.text(
    """
    UPDATE transfer t SET applied_at = :now
      FROM (SELECT x.network, x.txid, x.log_index FROM transfer x
              JOIN unnest(CAST(:networks AS text[]), CAST(:txids AS text[]), CAST(:log_indexes AS int[]))
                   AS k (network, txid, log_index) USING (network, txid, log_index)
             WHERE x.applied_at IS NULL ORDER BY 1, 2, 3 FOR NO KEY UPDATE OF x) a
     WHERE (t.network, t.txid, t.log_index) = (a.network, a.txid, a.log_index) AND t.applied_at IS NULL
    """
)
_NOT_APPLIED = sa.text(
    """
    SELECT t.network, t.txid, t.log_index, t.height, w.tenant_id, w.user_id, w.gateway_id, t.payment_id,
           t.currency, t.amount::text, w.address
      FROM transfer t JOIN wallet w ON w.id = t.wallet_id
     WHERE t.class = 'deposit' AND t.applied_at IS NULL AND t.block_time <= :before
     ORDER BY t.block_time LIMIT :limit
    """
)
_OUR_TXIDS = sa.text("SELECT txid FROM outgoing WHERE network = :network AND txid = ANY(:txids)")
_SETTLE_OUTGOING = sa.text(
    """
    UPDATE outgoing SET state = :state, height = :height, fee_sun = :fee
     WHERE network = :network AND txid = :txid AND state IN ('sent', 'dead')
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
     WHERE payment_id = :payment_id AND class = 'deposit' AND block_time <= :expires_at
    """
)
_TOTALS = sa.text(
    """
    SELECT currency, count(*), sum(amount)::text, count(applied_at),
           COALESCE(sum(amount) FILTER (WHERE applied_at IS NOT NULL), 0)::text
      FROM transfer WHERE class = 'deposit' GROUP BY currency ORDER BY currency
    """
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last block that was scanned."""

    height: int
    hash: str
    time: datetime


class CursorMoved(Exception):
    """Another scanner stored this block first, or its parent is not the block we scanned last."""


async def cursor(connection: Connection, network: str) -> Cursor | None:
    """Return the cursor, or None before the first scan."""
    row = await connection.first(_CURSOR, {"network": network})
    return None if row is None else Cursor(*row)


async def start(connection: Connection, network: str, header: Header) -> None:
    """Begin to scan after this block, unless there is a cursor."""
    values = {"network": network, "height": header.height, "hash": header.hash, "time": header.time}
    await connection.execute(_START, values)


async def advance(connection: Connection, network: str, header: Header) -> None:
    """Move the cursor to a block that fits on the last one.

    Raises:
        CursorMoved: when it does not fit; roll back.
    """
    values = {
        "network": network,
        "height": header.height,
        "hash": header.hash,
        "parent": header.parent,
        "time": header.time,
    }
    if (await connection.count(_ADVANCE, values)) != 1:
        raise CursorMoved


async def insert_transfer(
    connection: Connection,
    place: tuple[str, Header, str],
    transfer: Transfer,
    kind: TransferClass,
    owner: tuple[int | None, int | None],
) -> bool:
    """Store a transfer; False when it was stored before.

    Args:
        place: the network, the block and the currency.
        owner: the wallet and the payment that it belongs to.
    """
    network, header, currency = place
    values = {
        "network": network,
        "txid": transfer.txid,
        "log_index": transfer.log_index,
        "class": kind.value,
        "height": header.height,
        "time": header.time,
        "currency": currency,
        "amount": transfer.amount,
        "from_address": transfer.from_address,
        "to_address": transfer.to_address,
        "wallet_id": owner[0],
        "payment_id": owner[1],
    }
    return (await connection.first(_INSERT_TRANSFER, values)) is not None


async def applied(connection: Connection, keys: list[str], now: datetime) -> None:
    """Note that accounts has applied deposits; a key names the network, transaction and log."""
    parts = [key.split(":") for key in keys]
    values = {
        "networks": [network for network, _, _ in parts],
        "txids": [txid for _, txid, _ in parts],
        "log_indexes": [int(log_index) for _, _, log_index in parts],
        "now": now,
    }
    await connection.execute(_APPLIED, values)


async def not_applied(connection: Connection, before: datetime, limit: int) -> list[Deposit]:
    """Return deposits in blocks before a time that accounts has not answered for."""
    rows = await connection.execute(_NOT_APPLIED, {"before": before, "limit": limit})
    found: list[dict[str, Any]] = [dict(row) for row in rows]
    return [Deposit(**values | {"amount": int(values["amount"])}) for values in found]


async def our_txids(connection: Connection, network: str, txids: Sequence[str]) -> set[str]:
    """Return those of the transactions that we signed."""
    rows = await connection.execute(_OUR_TXIDS, {"network": network, "txids": list(txids)})
    return {row[0] for row in rows}


async def settle_outgoing(connection: Connection, network: str, height: int, result: Result) -> None:
    """Record how a transaction of ours ended in a solid block."""
    values = {
        "network": network,
        "txid": result.txid,
        "state": "succeeded" if result.succeeded else "failed",
        "height": height,
        "fee": result.fee_sun,
    }
    await connection.execute(_SETTLE_OUTGOING, values)


async def totals(connection: Connection) -> list[dict[str, object]]:
    """Return, per currency, how many deposits there are and their sum, and of those applied."""
    return [
        {
            "currency": row[0],
            "deposits": row[1],
            "deposited_units": row[2],
            "applied": row[3],
            "applied_units": row[4],
        }
        for row in await connection.execute(_TOTALS)
    ]


async def all_applied(connection: Connection, payment_id: int) -> bool:
    """Tell whether accounts has applied every deposit of a payment."""
    row = await connection.first(_WAITS, {"payment_id": payment_id})
    return row is None


async def received_in_time(connection: Connection, payment: Payment) -> int:
    """Return what a payment received in blocks that were made before it expired."""
    values = {"payment_id": payment.id, "expires_at": payment.expires_at}
    return int(await connection.value(_IN_TIME, values))
