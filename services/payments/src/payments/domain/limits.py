"""The limits that the signer keeps by itself, whoever asks. Pure; amounts are whole smallest units."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from payments.domain.errors import LimitReached, SignerRefused
from payments.domain.intents import NATIVE, Fuel, Intent, Payout
from payments.domain.model import Header, SignedPayout

AHEAD = timedelta(seconds=30)
"""Clocks differ; a solid block is never from the future."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is signed at most.

    Attributes:
        reference_age: how old the reference block may be.
        fuel_per_hour_sun: what fuel and the fees of payouts may take in a clock hour.
        payout_most: the most of one payout, by asset; an asset that is not named is not paid out.
        payout_per_day: the most of all payouts of a UTC day, by asset.
        payout_tries: how many transactions one payout may have, one after the other.
    """

    reference_age: timedelta
    fuel_per_hour_sun: int
    payout_most: Mapping[str, int]
    payout_per_day: Mapping[str, int]
    payout_tries: int


@dataclass(frozen=True, slots=True)
class Spending:
    """What signing something counts for: in which window, how much, and how much the window may hold."""

    name: str
    begins_at: datetime
    amount: int
    most: int
    setting: str


def check_reference(reference: Header, now: datetime, limits: Limits) -> None:
    """Refuse a block that is not of our time: its transactions could be kept and sent much later.

    Raises:
        SignerRefused: when the block is too old, from the future, or its hash is of another height.
    """
    if not now - limits.reference_age <= reference.time <= now + AHEAD:
        raise SignerRefused(f"the block of {reference.time} is not of our time (SIGNER_REFERENCE_AGE_S)")
    if int(reference.hash[:16], 16) != reference.height:
        raise SignerRefused(f"the block hash is not one of height {reference.height}")


def fees(intent: Intent, now: datetime, limits: Limits) -> Spending | None:
    """Return what an intent counts for in the hour's fuel, or None."""
    match intent:
        case Fuel(_, sun):
            amount = sun
        case Payout(_, asset, _, _, fee_limit) if asset != NATIVE:
            amount = fee_limit
        case _:
            return None
    hour = now.replace(minute=0, second=0, microsecond=0)
    return Spending("fuel", hour, amount, limits.fuel_per_hour_sun, "SIGNER_FUEL_PER_HOUR_SUN")


def paid_out(payout: Payout, now: datetime, limits: Limits) -> Spending:
    """Return what a new payout counts for in the day's payouts of its asset.

    Raises:
        LimitReached: when it alone is too much.
    """
    most = limits.payout_most.get(payout.asset, 0)
    if payout.amount > most:
        raise LimitReached(f"a payout of {payout.amount} is above {most} units (SIGNER_PAYOUT_MOST)")
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    per_day = limits.payout_per_day.get(payout.asset, 0)
    return Spending(f"payout:{payout.asset}", day, payout.amount, per_day, "SIGNER_PAYOUT_PER_DAY")


def check_spent(spending: Spending, spent: int) -> None:
    """Compare a window's sum with its limit.

    Raises:
        LimitReached: when it is passed.
    """
    if spent > spending.most:
        before = spent - spending.amount
        raise LimitReached(
            f"{spending.amount} units beside the {before} of {spending.name} since {spending.begins_at} are"
            f" above {spending.most} ({spending.setting})"
        )


def check_same(payout: Payout, known: SignedPayout) -> None:
    """Compare a payout with what was signed for its withdrawal first.

    Raises:
        SignerRefused: when it is for another recipient, asset or amount.
    """
    if (payout.asset, payout.to, payout.amount) != (known.asset, known.to, known.amount):
        raise SignerRefused(
            f"withdrawal {payout.withdrawal_id} was signed for {known.amount} of {known.asset} to {known.to}"
        )


def check_tries(payout: Payout, known: SignedPayout, limits: Limits) -> None:
    """Refuse a payout that had too many transactions: the signer can't see whether they really died.

    Raises:
        LimitReached: when there were as many as there may be.
    """
    if known.tries >= limits.payout_tries:
        raise LimitReached(
            f"withdrawal {payout.withdrawal_id} was signed {known.tries} times (SIGNER_PAYOUT_TRIES)"
        )
