"""The shapes of what the signer is asked. Amounts are decimal strings of whole smallest units."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from common.ids import MAX_ID
from common.web import Body
from payments.domain import intents
from payments.domain.model import Header

Units = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,30}$")]
Address = Annotated[str, StringConstraints(max_length=34)]
Milliseconds = Annotated[int, Field(ge=0, le=2**43)]


class WalletIn(Body):
    """A deposit wallet."""

    index: Annotated[int, Field(ge=0, lt=2**31)]
    address: Address

    def to_domain(self) -> intents.DepositKey:
        """Return what the domain calls it."""
        return intents.DepositKey(self.index, self.address)


class CollectIn(Body):
    """See `payments.domain.intents.Collect`."""

    kind: Literal["collect"]
    wallet: WalletIn
    asset: Address
    amount: Units
    fee_limit: Units

    def to_domain(self) -> intents.Intent:
        """Return the intent."""
        return intents.Collect(self.wallet.to_domain(), self.asset, int(self.amount), int(self.fee_limit))


class FuelIn(Body):
    """See `payments.domain.intents.Fuel`."""

    kind: Literal["fuel"]
    wallet: WalletIn
    sun: Units

    def to_domain(self) -> intents.Intent:
        """Return the intent."""
        return intents.Fuel(self.wallet.to_domain(), int(self.sun))


class DelegateIn(Body):
    """See `payments.domain.intents.Delegate`."""

    kind: Literal["delegate"]
    wallet: WalletIn
    sun: Units

    def to_domain(self) -> intents.Intent:
        """Return the intent."""
        return intents.Delegate(self.wallet.to_domain(), int(self.sun))


class ReclaimIn(Body):
    """See `payments.domain.intents.Reclaim`."""

    kind: Literal["reclaim"]
    wallet: WalletIn
    sun: Units

    def to_domain(self) -> intents.Intent:
        """Return the intent."""
        return intents.Reclaim(self.wallet.to_domain(), int(self.sun))


class PayoutIn(Body):
    """See `payments.domain.intents.Payout`."""

    kind: Literal["payout"]
    withdrawal_id: Annotated[int, Field(ge=1, le=MAX_ID)]
    asset: Address
    to: Address
    amount: Units
    fee_limit: Units

    def to_domain(self) -> intents.Intent:
        """Return the intent."""
        return intents.Payout(self.withdrawal_id, self.asset, self.to, int(self.amount), int(self.fee_limit))


class StakeIn(Body):
    """See `payments.domain.intents.Stake`."""

    kind: Literal["stake"]
    sun: Units

    def to_domain(self) -> intents.Intent:
        """Return the intent."""
        return intents.Stake(int(self.sun))


class ReferenceIn(Body):
    """A solid block."""

    height: Annotated[int, Field(ge=0, lt=2**63)]
    hash: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    time_ms: Milliseconds

    def to_domain(self) -> Header:
        """Return the block; what is in it and before it is nothing to the signer."""
        time = datetime.fromtimestamp(self.time_ms / 1000, UTC)
        return Header(self.height, self.hash, parent="", time=time, empty=True)


class SignIn(Body):
    """An intent, the block that its transaction refers to, and its timestamp."""

    intent: Annotated[
        CollectIn | FuelIn | DelegateIn | ReclaimIn | PayoutIn | StakeIn, Field(discriminator="kind")
    ]
    reference: ReferenceIn
    timestamp_ms: Milliseconds


class SignedOut(BaseModel):
    """A signed transaction, its bytes in hex."""

    txid: str
    signed: str
    expires_at_ms: int
