"""What a rescan asks PostgreSQL: what is stored of a block already, and what older sums stand for."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from common.db import Connection
from payments.db.restore import CARRIED
from payments.domain.model import Payment, Transfer, TransferClass

_STORED = sa.text(
    """
    SELECT t.txid, t.log_index, t.class, t.height, t.currency, t.amount::text, t.to_address, t.wallet_id
      FROM transfer t
      JOIN unnest(CAST(:txids AS text[]), CAST(:logs AS integer[])) AS k (txid, log_index) USING (txid, log_index)
     WHERE t.network = :network ORDER BY t.txid, t.log_index DESC
    """
)
_COUNTED = sa.text(
    """
    SELECT address, max(height) FROM (
        SELECT address, opened_height AS height FROM own_wallet WHERE network = :network
        UNION ALL
        SELECT unnest(ARRAY[from_address, to_address]), height FROM transfer
         WHERE network = :network AND txid LIKE :carried
      ) c GROUP BY address
    """
)
_RECEIVED_BEFORE = sa.text(
    """
    SELECT COALESCE(sum(amount), 0)::text FROM transfer
     WHERE payment_id = :payment_id AND class = 'deposit' AND currency = :currency AND height < :height
    """
)


@dataclass(frozen=True, slots=True)
class StoredTransfer:
    """A transfer as it is stored."""

    txid: str
    log_index: int
    kind: TransferClass
    height: int
    currency: str
    units: int
    to_address: str
    wallet_id: int | None


async def stored(connection: Connection, network: str, some: Sequence[Transfer]) -> list[StoredTransfer]:
    """Return those of the transfers that are stored."""
    values = {"network": network, "txids": [t.txid for t in some], "logs": [t.log_index for t in some]}
    return [
        StoredTransfer(r[0], r[1], TransferClass(r[2]), r[3], r[4], int(r[5]), r[6], r[7])
        for r in await connection.execute(_STORED, values)
    ]


async def counted_until(connection: Connection, network: str) -> dict[str, int]:
    """Return up to which block one sum stands for what moved at an address: its opening, or what was carried."""
    values = {"network": network, "carried": f"{CARRIED}%"}
    return {row[0]: int(row[1]) for row in await connection.execute(_COUNTED, values)}


async def received_before(connection: Connection, payment: Payment, height: int) -> int:
    """Return what a payment had received, in its own currency, before a block."""
    values = {"payment_id": payment.id, "currency": payment.currency, "height": height}
    return int(await connection.value(_RECEIVED_BEFORE, values))
