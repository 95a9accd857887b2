"""Wallets, payments, transfers and sweeps. Amounts are whole smallest units."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from payments.domain.intents import DepositKey

MOST_RAW = 64 * 1024
"""Characters of a transaction that was set aside; the node has the rest."""
HOUSE_TENANT = 0
"""Whom the ledger books our own capital and fees for."""


class PaymentStatus(StrEnum):
    """A payment waits, succeeds, or its time passes."""

    WAITING = "waiting"
    SUCCESS = "success"
    EXPIRED = "expired"


class TransferClass(StrEnum):
    """Why a transfer touches us; only a deposit credits a user."""

    DEPOSIT = "deposit"
    OWN = "own"
    FUNDING = "funding"
    UNEXPLAINED = "unexplained"


class Arrival(StrEnum):
    """What a deposit was to the payment it belongs to; the user is credited in every case."""

    EXACT = "exact"
    UNDER = "under"
    OVER = "over"
    LATE = "late"
    EXTRA = "extra"
    OTHER_CURRENCY = "other_currency"
    UNASKED = "unasked"


class Step(StrEnum):
    """Where a sweep stands."""

    PLANNED = "planned"
    FUELING = "fueling"
    DELEGATING = "delegating"
    TRANSFERRING = "transferring"
    RECLAIMING = "reclaiming"
    SWEPT = "swept"


class TxState(StrEnum):
    """What became of a transaction of ours."""

    SENT = "sent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class GatewayInfo:
    """A way to pay."""

    id: str
    name: str
    network: str
    currency: str


@dataclass(frozen=True, slots=True)
class Wallet:
    """A deposit wallet: one user's for ever."""

    id: int
    tenant_id: int
    user_id: int
    gateway_id: str
    network: str
    derivation_index: int
    address: str
    status: str


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment that a user was asked for."""

    id: int
    tenant_id: int
    user_id: int
    gateway_id: str
    wallet_id: int
    address: str
    currency: str
    amount: int
    received: int
    status: PaymentStatus
    version: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    network: str


@dataclass(frozen=True, slots=True)
class Header:
    """A block of the chain, without what is in it."""

    height: int
    hash: str
    parent: str
    time: datetime
    empty: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer of an asset.

    Attributes:
        log_index: the log's place in its transaction. TRX leaves no logs: -1 is what the transaction itself sends,
            and -2, -3, … are what contracts send inside it.
        asset: the token's contract, or `NATIVE`.
    """

    txid: str
    log_index: int
    asset: str
    from_address: str
    to_address: str
    amount: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A transfer and the solid block that holds it."""

    height: int
    time: datetime
    transfer: Transfer


@dataclass(frozen=True, slots=True)
class Result:
    """How a transaction in a block ended, whatever it was."""

    txid: str
    succeeded: bool
    fee_sun: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A transaction of a block that can't be read or stored: it is set aside, and the scan goes on.

    Attributes:
        txid: its id, or `#` and its place in the block where it has none.
        reason: what is wrong with it.
        raw: what the node answered, as JSON, cut to `MOST_RAW` characters.
    """

    txid: str
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class HeadBlock:
    """A block that may be forked away, and the transfers that its transactions ask for. It moves no money."""

    header: Header
    transfers: list[Transfer]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a payer sees beyond what is solid.

    Attributes:
        seen: what is at the head and not solid yet, in smallest units.
        confirmations: how many blocks are on top of the newest deposit's; None when nothing arrived.
    """

    seen: int = 0
    confirmations: int | None = None


@dataclass(frozen=True, slots=True)
class BlockContent:
    """What a solid block holds: the watched assets' transfers, and the result of every transaction.

    `hidden` names transactions in which contracts called each other and whose receipts don't tell what they sent:
    TRX that came to us there is not among the transfers.
    """

    transfers: list[Transfer]
    results: list[Result]
    unreadable: list[Unreadable] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Block:
    """A solid block."""

    header: Header
    content: BlockContent


@dataclass(frozen=True, slots=True)
class Deposit:
    """A solid transfer to a deposit wallet that accounts has to credit."""

    network: str
    txid: str
    log_index: int
    height: int
    tenant_id: int
    user_id: int
    gateway_id: str
    payment_id: int | None
    currency: str
    amount: int
    address: str
    arrival: str

    @property
    def key(self) -> str:
        """The key of its operation in the ledger."""
        return f"{self.network}:{self.txid}:{self.log_index}"


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a payer sees of a deposit: `credited` once accounts has applied it."""

    txid: str
    currency: str
    amount: int
    state: Arrival
    credited: bool


@dataclass(frozen=True, slots=True)
class Credited:
    """What came from outside or went there as the ledger has it, with whose it was and what it came through.

    `place` orders the pages of a list. Where the ledger was tampered with, a name is empty or the amount zero:
    what is compared must not fail.
    """

    place: int
    kind: str
    key: str
    tenant_id: int
    owner: str
    gateway_id: str
    currency: str
    amount: int

    @property
    def user_id(self) -> int:
        """The user, of a deposit."""
        return int(self.owner.removeprefix("user:"))


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep of one wallet to the main wallet."""

    id: int
    wallet_id: int
    tenant_id: int
    user_id: int
    gateway_id: str
    address: str
    derivation_index: int
    currency: str
    amount: int
    step: Step
    tries: int
    lent_sun: int
    spent_sun: int
    """What its transactions have cost so far."""

    @property
    def wallet(self) -> DepositKey:
        """The wallet, as the signer knows it."""
        return DepositKey(self.derivation_index, self.address)


@dataclass(frozen=True, slots=True)
class Booking:
    """What the ledger has to know of the chain besides deposits."""

    key: str
    kind: str
    tenant_id: int
    currency: str
    giver: str
    taker: str
    amount: int


def funding(gateway: GatewayInfo, transfer: Transfer) -> Booking:
    """Return what the ledger has to know of money that reached a wallet of our own: it is our capital."""
    key = f"{gateway.network}:{transfer.txid}:{transfer.log_index}"
    legs = (f"external:{gateway.id}", "operator")
    return Booking(key, "funding", HOUSE_TENANT, gateway.currency, *legs, transfer.amount)


class WithdrawalStatus(StrEnum):
    """Where a withdrawal stands. `paying` and `returning` wait for the ledger alone."""

    REQUESTED = "requested"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    SENT = "sent"
    PAYING = "paying"
    RETURNING = "returning"
    SUCCESS = "success"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Money of a user that leaves for an address of their own."""

    id: int
    tenant_id: int
    user_id: int
    gateway_id: str
    currency: str
    amount: int
    address: str
    status: WithdrawalStatus
    reason: str | None
    ends_as: WithdrawalStatus | None
    needs_approval: bool
    requested_by: int
    approved_by: int | None
    version: int
    tries: int
    last_error: str | None
    txid: str | None
    created_at: datetime
    updated_at: datetime

    def booking(self, step: str, giver: str, taker: str) -> Booking:
        """Return what the ledger has to move at a step, under the step's own key."""
        kind = {"hold": "payout_hold", "payout": "payout", "return": "payout_return"}[step]
        key = f"withdrawal:{self.id}:{step}"
        return Booking(key, kind, self.tenant_id, self.currency, giver, taker, self.amount)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a transaction of ours is for: a step of a sweep, a payout, or a stake that belongs to neither."""

    name: str
    payer: str
    sweep_id: int | None = None
    withdrawal_id: int | None = None
    promised_sun: int = 0
    """What a payout may burn of the main wallet's TRX."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A transaction of ours: signed, stored, and then sent as often as needed."""

    id: int
    purpose: Purpose
    txid: str
    signed: bytes
    expires_at: datetime
    state: TxState
    to_address: str | None
    """The customer's address, of a payout."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed transaction that was not sent yet."""

    txid: str
    signed: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Prices:
    """What the chain charges, in sun."""

    energy: int
    byte: int
    activation: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a transfer out of a wallet needs and what is there for it.

    Attributes:
        energy: what the contract will use, with a margin; zero for TRX.
        size: bytes of the transaction.
        energy_at_hand: what the wallet may use without burning, staked or lent.
        has_bandwidth: one of its pools covers the whole transaction.
        sun: the wallet's TRX.
        activated: the address exists on the chain, so it can send.
        lendable_sun: how much stake the fuel wallet could lend.
        energy_per_trx: energy for each staked TRX, as a fraction.
        prices: what the chain charges.
    """

    energy: int
    size: int
    energy_at_hand: int
    has_bandwidth: bool
    sun: int
    activated: bool
    lendable_sun: int
    energy_per_trx: Fraction
    prices: Prices

    @property
    def fee_limit(self) -> int:
        """The most that the contract may use, burned and staked energy together."""
        return self.energy * self.prices.energy


@dataclass(frozen=True, slots=True)
class SignedPayout:
    """What was signed for a withdrawal: the same for ever, and the transaction that was signed last."""

    asset: str
    to: str
    amount: int
    tries: int
    last: Signed | None


@dataclass(frozen=True, slots=True)
class WalletRoot:
    """What is derived from the seed in public: the deposit wallets' account key and our two own wallets."""

    deposit_xpub: str
    main_address: str
    fuel_address: str


@dataclass(frozen=True, slots=True)
class StoredSeed:
    """A seed that only the holder of its key can read, and its public part."""

    nonce: bytes
    ciphertext: bytes
    root: WalletRoot
