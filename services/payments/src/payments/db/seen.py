"""What blocks show that are not solid yet: for display alone, replaced with its block."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from common.db import Connection
from payments.domain.model import Sight

_FORGET = sa.text(
    """
    DELETE FROM seen_transfer
     WHERE network = :network AND (height <= :solid OR (height <= :top AND block_hash <> ALL(:hashes)))
    """
)
_INSERT = sa.text(
    """
    INSERT INTO seen_transfer (network, block_hash, txid, place, height, wallet_id, currency, amount)
    VALUES (:network, :block_hash, :txid, :place, :height, :wallet_id, :currency, :amount) ON CONFLICT DO NOTHING
    """
)
# A transfer at the head belongs to the payment that it will belong to once it is solid.
_SIGHT = sa.text(
    """
    WITH seen AS (
        SELECT s.amount, s.height FROM payment p JOIN seen_transfer s ON s.wallet_id = p.wallet_id
          JOIN scan_cursor c ON c.network = s.network
         WHERE p.id = :payment_id AND s.currency = p.currency AND s.height > c.height
           AND p.id = (SELECT o.id FROM payment o
                      WHERE o.wallet_id = p.wallet_id AND o.created_height <= s.height
                      ORDER BY o.created_height < s.height DESC, o.created_height DESC, o.id DESC LIMIT 1)
    ), newest AS (
        SELECT max(height) AS height FROM (
            SELECT height FROM seen
            UNION ALL
            SELECT height FROM transfer WHERE payment_id = :payment_id AND class = 'deposit') AS a
    )
    SELECT (SELECT COALESCE(sum(amount), 0)::text FROM seen),
           (SELECT CASE WHEN newest.height IS NOT NULL
                        THEN GREATEST(0, GREATEST(c.height, c.head_height) - newest.height) END
              FROM newest, payment p JOIN wallet w ON w.id = p.wallet_id
              JOIN scan_cursor c ON c.network = w.network
             WHERE p.id = :payment_id)
    """
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A transfer to a deposit wallet in a block that is not solid yet."""

    block_hash: str
    height: int
    txid: str
    place: int
    wallet_id: int
    currency: str
    amount: int


async def forget(connection: Connection, network: str, solid: int, top: int, hashes: Sequence[str]) -> None:
    """Forget what is solid, and blocks up to `top` that are not among `hashes`: they were forked away."""
    values = {"network": network, "solid": solid, "top": top, "hashes": list(hashes)}
    await connection.execute(_FORGET, values)


async def insert(connection: Connection, network: str, seen: Seen) -> None:
    """Store what was seen; another scanner may have done so."""
    values = {
        "network": network,
        "block_hash": seen.block_hash,
        "txid": seen.txid,
        "place": seen.place,
        "height": seen.height,
        "wallet_id": seen.wallet_id,
        "currency": seen.currency,
        "amount": seen.amount,
    }
    await connection.execute(_INSERT, values)


async def sight(connection: Connection, payment_id: int) -> Sight:
    """Return what the payer of a payment sees beyond what is solid."""
    row = await connection.one(_SIGHT, {"payment_id": payment_id})
    return Sight(int(row[0]), row[1])
