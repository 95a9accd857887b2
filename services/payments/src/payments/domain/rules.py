"""The rules of payments: classes of transfers, and when a payment is done. Pure."""

from datetime import datetime
from math import ceil

from payments.domain.intents import NATIVE, Collect, Delegate, DepositKey, Fuel
from payments.domain.model import Arrival, Facts, Payment, PaymentStatus, TransferClass

SUN = 1_000_000
"""Sun in a TRX, and the least stake that can be lent."""
FUEL_BYTES, LOAN_BYTES = 270, 300
"""At most so many bytes of bandwidth are a transfer of TRX, and a loan of energy or its way back."""


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


def arrival(payment: Payment | None, currency: str, amount: int, at: datetime) -> Arrival:
    """Name what a deposit is to the payment it belongs to.

    Args:
        payment: the payment as it was before the deposit, or None where its user was asked for nothing.
        currency: what arrived.
        amount: how much, in smallest units.
        at: the time of its block.
    """
    if payment is None:
        return Arrival.UNASKED
    if payment.currency != currency:
        return Arrival.OTHER_CURRENCY
    if payment.status is PaymentStatus.EXPIRED or at > payment.expires_at:
        return Arrival.LATE
    if payment.status is PaymentStatus.SUCCESS or payment.received >= payment.amount:
        return Arrival.EXTRA
    left = payment.amount - payment.received
    if amount < left:
        return Arrival.UNDER
    return Arrival.EXACT if amount == left else Arrival.OVER


ENOUGH_PERCENT = 97
"""What is there of the estimate, which has a larger margin: a loan shrinks a little as others stake more."""


class TooDear(Exception):
    """A sweep would cost more than the operator allows."""


def next_intent(
    wallet: DepositKey, asset: str, amount: int, facts: Facts, left_sun: int, ours_sun: int
) -> Fuel | Delegate | Collect:
    """Return what has to be signed next for a sweep: the fuel ladder.

    Energy at hand comes first, then energy lent by the fuel wallet, and burning TRX last.

    Args:
        wallet: what is swept.
        asset: what is moved.
        amount: how much of it.
        facts: what it needs and what there is.
        left_sun: what the sweep may still cost.
        ours_sun: TRX in the wallet that we put there; the rest is its user's and pays for nothing.

    Raises:
        TooDear: when it would cost more than is left.
    """
    prices = facts.prices
    bytes_sun = 0 if facts.has_bandwidth or not facts.activated else facts.size * prices.byte
    enough = facts.energy_at_hand >= facts.energy * ENOUGH_PERCENT // 100
    missing = 0 if enough else facts.energy - facts.energy_at_hand
    stake = max(SUN, ceil(missing / facts.energy_per_trx * SUN)) if missing and facts.energy_per_trx else 0
    lent = 0 < stake <= facts.lendable_sun
    burned = bytes_sun + (0 if lent else missing * prices.energy)
    moved = amount if asset == NATIVE else 0
    short = burned - max(0, min(ours_sun, facts.sun - moved))
    fueled = short > 0 or not facts.activated
    # What the fuel wallet sends costs it bandwidth: the fuel, the loan, and the way back of the loan.
    sent = (FUEL_BYTES if fueled else 0) + (2 * LOAN_BYTES if lent else 0)
    cost = burned + sent * prices.byte + (0 if facts.activated else prices.activation)
    if cost > left_sun:
        raise TooDear(f"{cost} sun are needed and {left_sun} may be spent (SWEEP_FEE_CAP_SUN)")
    if fueled:
        return Fuel(wallet, max(short, 1))
    if lent:
        return Delegate(wallet, stake)
    return Collect(wallet, asset, amount, facts.fee_limit)
