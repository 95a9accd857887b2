"""What the signer let go, in a schema of its own."""

import sqlalchemy as sa

from common.db import Connection
from payments.domain.intents import Payout
from payments.domain.limits import Spending
from payments.domain.model import Signed, SignedPayout

_SPEND = sa.text(
    """
    INSERT INTO signer.spent AS s (name, begins_at, amount) VALUES (:name, :begins_at, :amount)
    ON CONFLICT (name, begins_at) DO UPDATE SET amount = s.amount + EXCLUDED.amount RETURNING amount::text
    """
)
_NOTE = sa.text(
    """
    INSERT INTO signer.payout (withdrawal_id, asset, recipient, amount)
    VALUES (:withdrawal_id, :asset, :recipient, :amount) ON CONFLICT DO NOTHING
    """
)
_LOCK = sa.text(
    """
    SELECT asset, recipient, amount::text, tries, txid, signed, expires_at FROM signer.payout
     WHERE withdrawal_id = :withdrawal_id FOR UPDATE
    """
)
_ALONE = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:txid, 0))")
_KNOWN = sa.text("SELECT count(*) FROM signer.payout WHERE txid = :txid AND withdrawal_id <> :withdrawal_id")
_KEEP = sa.text(
    """
    UPDATE signer.payout SET tries = tries + 1, txid = :txid, signed = :signed, expires_at = :expires_at
     WHERE withdrawal_id = :withdrawal_id
    """
)


async def spend(connection: Connection, spending: Spending) -> int:
    """Count what is about to be signed; return the window's sum, its row locked until the transaction ends."""
    values = {"name": spending.name, "begins_at": spending.begins_at, "amount": spending.amount}
    return int(await connection.value(_SPEND, values))


async def lock_payout(connection: Connection, payout: Payout) -> SignedPayout:
    """Return what was signed for a withdrawal, which is noted where it is new; locked."""
    values = {
        "withdrawal_id": payout.withdrawal_id,
        "asset": payout.asset,
        "recipient": payout.to,
        "amount": payout.amount,
    }
    await connection.execute(_NOTE, values)
    row = await connection.one(_LOCK, {"withdrawal_id": payout.withdrawal_id})
    last = None if row["txid"] is None else Signed(row["txid"], bytes(row["signed"]), row["expires_at"])
    return SignedPayout(row["asset"], row["recipient"], int(row["amount"]), row["tries"], last)


async def is_another(connection: Connection, withdrawal_id: int, txid: str) -> bool:
    """Tell whether another withdrawal has this transaction: the same recipient, amount and millisecond.

    Whoever asks about the same one at the same time waits until this transaction has ended.
    """
    await connection.execute(_ALONE, {"txid": txid})
    return bool(await connection.value(_KNOWN, {"txid": txid, "withdrawal_id": withdrawal_id}))


async def keep(connection: Connection, withdrawal_id: int, signed: Signed) -> None:
    """Keep the last transaction of a locked withdrawal, and count it."""
    values = {
        "withdrawal_id": withdrawal_id,
        "txid": signed.txid,
        "signed": signed.signed,
        "expires_at": signed.expires_at,
    }
    await connection.execute(_KEEP, values)
