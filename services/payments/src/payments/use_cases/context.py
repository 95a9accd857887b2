"""What the use cases of payments share: the database, the gateways, accounts, the signer, the clock."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from common.clock import Clock
from common.db import Database
from payments.db.books import Asset
from payments.domain.head_view import HeadView
from payments.domain.intents import NATIVE
from payments.domain.model import Header
from payments.domain.ports import Accounts, Gateway, Signer


@dataclass(frozen=True, slots=True)
class WithdrawalLimits:
    """What may be withdrawn in a currency, in smallest units: at once, per key and day, and without approval."""

    most: int
    per_day: int
    approval_above: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides."""

    payment_lifetime: timedelta
    sweep_thresholds: Mapping[str, int]
    """By currency, in smallest units: less stays in the wallet as dust."""
    sweep_fee_cap_sun: int
    """The most that one sweep may cost, and what one payout may burn."""
    withdrawals: Mapping[str, WithdrawalLimits]
    """By currency; what is not named is not paid out."""
    blocks_in_flight: int = 16
    """How many blocks are fetched at a time while the scanner catches up."""
    stale_after: timedelta = timedelta(seconds=90)
    """How old the chain's head may be, by our clock, before that is an alarm."""


@dataclass(slots=True)
class ScanState:
    """What a scanner remembers; losing it costs some calls and an alarm that is told again."""

    solid: Header | None = None
    """The newest solid block that was shown."""
    view: HeadView = field(default_factory=HeadView)
    episodes: set[str] = field(default_factory=set)
    """The alarms that were told and have not ended."""


@dataclass(frozen=True, slots=True)
class Payments:
    """The parts of the service. `told` is called when events were stored."""

    database: Database
    gateways: Mapping[str, Gateway]
    accounts: Accounts
    signer: Signer
    clock: Clock
    policy: Policy
    told: Callable[[], None]
    opened: set[str] = field(default_factory=set)
    """Our own wallets whose books are known to be open."""
    scans: dict[str, ScanState] = field(default_factory=lambda: defaultdict(ScanState))
    """What this process remembers of each network between two looks of its scanner."""


def asset_of(gateway: Gateway) -> Asset:
    """Return what a gateway moves, as the books name it."""
    return Asset(gateway.info.network, gateway.info.currency, gateway.asset == NATIVE)
