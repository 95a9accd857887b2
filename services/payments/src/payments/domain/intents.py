"""What the signer may be asked to sign. Amounts are whole smallest units; TRX is in sun.

An intent says what is wanted, never how the transaction looks: the signer builds that itself.
"""

from dataclasses import dataclass

NATIVE = "TRX"
"""The asset that has no contract."""
STAKED = "staked"
"""Stands for where TRX goes that its owner stakes: it leaves the balance and no wallet gets it."""


@dataclass(frozen=True, slots=True)
class DepositKey:
    """Which deposit wallet signs or receives: its index, and the address that must be there."""

    index: int
    address: str


@dataclass(frozen=True, slots=True)
class Collect:
    """Move an asset from a deposit wallet to the main wallet. `asset` is a contract's address or `NATIVE`."""

    wallet: DepositKey
    asset: str
    amount: int
    fee_limit: int


@dataclass(frozen=True, slots=True)
class Fuel:
    """Give a deposit wallet TRX from the fuel wallet; an address that was never used is activated by it."""

    wallet: DepositKey
    sun: int


@dataclass(frozen=True, slots=True)
class Delegate:
    """Lend a deposit wallet the energy of so much of the fuel wallet's staked TRX."""

    wallet: DepositKey
    sun: int


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Take back energy that was lent to a deposit wallet."""

    wallet: DepositKey
    sun: int


@dataclass(frozen=True, slots=True)
class Payout:
    """Send an asset from the main wallet to a customer's address."""

    withdrawal_id: int
    asset: str
    to: str
    amount: int
    fee_limit: int


@dataclass(frozen=True, slots=True)
class Stake:
    """Stake TRX of the fuel wallet for energy, which it can lend then."""

    sun: int


Intent = Collect | Fuel | Delegate | Reclaim | Payout | Stake
