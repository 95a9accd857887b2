"""The rules of payments: classes of transfers, and when a payment is done. Pure."""

from datetime import datetime

from payments.domain.model import Payment, PaymentStatus, TransferClass


def classify(*, ours: bool, to_deposit_wallet: bool, to_own_wallet: bool) -> TransferClass:
    """Tell why a transfer touches us.

    Args:
        ours: we signed the transaction.
        to_deposit_wallet: it went to a user's deposit wallet.
        to_own_wallet: it went to the main or the fuel wallet.
    """
    if ours:
        return TransferClass.OWN
    if to_deposit_wallet:
        return TransferClass.DEPOSIT
    return TransferClass.FUNDING if to_own_wallet else TransferClass.UNEXPLAINED


def next_status(
    payment: Payment, *, in_time: int, all_applied: bool, unswept: int, dust_below: int, chain_time: datetime
) -> PaymentStatus:
    """Return the status that a waiting payment should have.

    Args:
        payment: the payment, waiting.
        in_time: what it received in blocks that were made before it expired.
        all_applied: accounts has answered `applied` for each of its deposits.
        unswept: what was credited from its wallet and is not solid in the main wallet.
        dust_below: what is less than this is not worth a sweep.
        chain_time: the time of the last scanned block; downtime makes nobody late.
    """
    if in_time >= payment.amount:
        done = all_applied and unswept < dust_below
        return PaymentStatus.SUCCESS if done else PaymentStatus.WAITING
    if chain_time >= payment.expires_at:
        return PaymentStatus.EXPIRED
    return PaymentStatus.WAITING


def shortage(needed: int, available: int) -> int:
    """Return the sun that a wallet still needs, zero when it has enough."""
    return max(0, needed - available)
