"""Whether the main wallet can pay. Pure; amounts are whole smallest units, TRX is in sun."""

from collections.abc import Sequence
from dataclasses import dataclass

from payments.domain.intents import NATIVE
from payments.domain.model import Facts

NATIVE_RESERVE_SUN = 2_000_000
"""What a payout of TRX may cost beside the amount: activating the recipient is 1.1 TRX."""


class NotYet(Exception):
    """Something is missing that may come; the withdrawal waits. `code` is what callers are told."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Promise:
    """A payout that is out of the main wallet and in no solid block yet."""

    withdrawal_id: int
    asset: str
    amount: int
    burn_sun: int


@dataclass(frozen=True, slots=True)
class Purse:
    """What the main wallet holds of the asset, what a transfer needs, and the most that it may burn."""

    held: int
    facts: Facts
    most_sun: int


def check_held(held: int, asset: str, amount: int, out: Sequence[Promise]) -> None:
    """Check that the main wallet has the asset beside what is out.

    Raises:
        NotYet: when it has not.
    """
    promised = sum(p.amount for p in out if p.asset == asset)
    if held < amount + promised:
        raise NotYet("main_wallet_short", f"the main wallet holds {held}, {promised} promised, {amount} due")


def payout_burn(purse: Purse, asset: str, amount: int, out: Sequence[Promise]) -> int:
    """Return the TRX that a payout may burn, in sun, when the main wallet can pay it beside all that is out.

    Energy and bandwidth at hand count only while nothing else is out that could use them first.

    Raises:
        NotYet: when it can't.
    """
    facts, prices = purse.facts, purse.facts.prices
    native = asset == NATIVE
    check_held(purse.held, asset, amount, out)
    missing = facts.energy if out else max(0, facts.energy - facts.energy_at_hand)
    free = facts.has_bandwidth and not out
    burn = (
        missing * prices.energy + (0 if free else facts.size * prices.byte) + (NATIVE_RESERVE_SUN if native else 0)
    )
    if burn > purse.most_sun:
        raise NotYet("too_dear", f"it would burn {burn} sun, more than SWEEP_FEE_CAP_SUN")
    promised_sun = sum(p.burn_sun + (p.amount if p.asset == NATIVE else 0) for p in out)
    needed = burn + promised_sun + (amount if native else 0)
    if facts.sun < needed:
        raise NotYet("fuel_short", f"the main wallet has {facts.sun} sun, and {needed} are needed")
    return burn
