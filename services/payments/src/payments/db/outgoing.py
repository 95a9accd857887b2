"""Our own transactions in PostgreSQL: signed, stored, and then sent as often as needed."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from common.db import Connection, Row, UniqueViolation
from payments.domain.model import Outgoing, Purpose, Result, Signed, TxState

_OUTGOING = """
    o.id, o.purpose, o.payer, o.sweep_id, o.withdrawal_id, o.txid, o.signed, o.expires_at, o.state, w.address
"""
_FROM = "FROM outgoing o LEFT JOIN withdrawal w ON w.id = o.withdrawal_id"
_INSERT = sa.text(
    """
    INSERT INTO outgoing (sweep_id, withdrawal_id, purpose, payer, promised_sun, network, txid, signed, expires_at,
                          created_at)
    VALUES (:sweep_id, :withdrawal_id, :purpose, :payer, :promised_sun, :network, :txid, :signed, :expires_at,
            :now)
    """
)
_OF_SWEEP = sa.text(f"SELECT {_OUTGOING} {_FROM} WHERE o.sweep_id = :id ORDER BY o.id DESC LIMIT 1")
_OF_WITHDRAWAL = sa.text(f"SELECT {_OUTGOING} {_FROM} WHERE o.withdrawal_id = :id ORDER BY o.id DESC LIMIT 1")
_BY_TXID = sa.text(f"SELECT {_OUTGOING} {_FROM} WHERE o.network = :network AND o.txid = ANY(:txids)")
_SETTLE = sa.text(
    """
    UPDATE outgoing SET state = :state, height = :height, fee_sun = :fee, settled_at = now()
     WHERE network = :network AND txid = :txid AND state IN ('sent', 'dead')
    """
)
# What was set aside may be ours, and in a block.
_BURY = sa.text(
    """
    UPDATE outgoing o SET state = 'dead'
     WHERE o.id = :id AND o.state = 'sent'
       AND NOT EXISTS (SELECT FROM quarantined q
                        WHERE q.network = o.network AND q.txid = o.txid AND q.resolved_at IS NULL)
    """
)


class TxidTaken(Exception):
    """A transaction with this id exists: sign again with another timestamp."""


def _outgoing(row: Row) -> Outgoing:
    purpose = Purpose(row[1], row[2], row[3], row[4])
    return Outgoing(row[0], purpose, row[5], bytes(row[6]), row[7], TxState(row[8]), row[9])


async def store(connection: Connection, purpose: Purpose, network: str, signed: Signed, now: datetime) -> None:
    """Store a signed transaction before it is sent.

    Raises:
        TxidTaken: when an equal one exists.
    """
    values = {
        "sweep_id": purpose.sweep_id,
        "withdrawal_id": purpose.withdrawal_id,
        "purpose": purpose.name,
        "payer": purpose.payer,
        "promised_sun": purpose.promised_sun,
        "network": network,
        "txid": signed.txid,
        "signed": signed.signed,
        "expires_at": signed.expires_at,
        "now": now,
    }
    try:
        await connection.execute(_INSERT, values)
    except UniqueViolation as error:
        if "outgoing_network_txid_key" in str(error):
            raise TxidTaken from error
        raise


async def last_of_sweep(connection: Connection, sweep_id: int) -> Outgoing | None:
    """Return the newest transaction of a sweep."""
    row = await connection.first(_OF_SWEEP, {"id": sweep_id})
    return None if row is None else _outgoing(row)


async def last_of_withdrawal(connection: Connection, withdrawal_id: int) -> Outgoing | None:
    """Return the newest transaction of a withdrawal."""
    row = await connection.first(_OF_WITHDRAWAL, {"id": withdrawal_id})
    return None if row is None else _outgoing(row)


async def by_txid(connection: Connection, network: str, txids: Sequence[str]) -> dict[str, Outgoing]:
    """Return those of the transactions that we signed."""
    rows = await connection.execute(_BY_TXID, {"network": network, "txids": list(txids)})
    return {found.txid: found for found in map(_outgoing, rows)}


async def settle(connection: Connection, network: str, height: int, result: Result) -> bool:
    """Record how a transaction of ours ended in a solid block; False when that was recorded before."""
    values = {
        "network": network,
        "txid": result.txid,
        "state": "succeeded" if result.succeeded else "failed",
        "height": height,
        "fee": result.fee_sun,
    }
    return await connection.count(_SETTLE, values) == 1


async def bury(connection: Connection, outgoing: Outgoing) -> bool:
    """Note that a transaction can't come into a block any more; False when that is not known, or was noted."""
    return await connection.count(_BURY, {"id": outgoing.id}) == 1
