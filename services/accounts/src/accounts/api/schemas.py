"""The shapes of requests and answers."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from accounts.domain.ledger import HOUSE_TENANT, Leg, Operation
from accounts.domain.users import Adjustment, User
from common.ids import MAX_ID, request_id
from common.money import Currency
from common.web import Body, Text

IdField = Annotated[int, Field(ge=1, le=MAX_ID)]


class UserIn(Body):
    """A user as the marketplace knows them."""

    name: Annotated[Text, StringConstraints(max_length=200)] = Field(examples=["Alice"])
    external_id: IdField = Field(examples=[1001], description="the marketplace's own id of the user")


class UserOut(BaseModel):
    """A user."""

    id: int = Field(examples=[1])
    name: str
    external_id: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, user: User) -> "UserOut":
        """Show a user."""
        return cls(
            id=user.id,
            name=user.name,
            external_id=user.external_id,
            created_at=user.created_at,
            updated_at=user.updated_at,
        )


class BalanceOut(BaseModel):
    """A balance in one currency."""

    currency: str = Field(examples=["USDT"])
    balance: str = Field(examples=["12.500000"])


class AdjustmentOut(BaseModel):
    """One line of a statement."""

    seq: int = Field(description="counts the adjustments of this user and currency, without gaps")
    currency: str
    amount: str = Field(examples=["-12.500000"])
    balance_after: str
    kind: str = Field(description="hold, release, refund, deposit, payout_hold or payout_return")
    operation_key: str
    created_at: datetime

    @classmethod
    def of(cls, adjustment: Adjustment, currency: Currency) -> "AdjustmentOut":
        """Show an adjustment."""
        return cls(
            seq=adjustment.seq,
            currency=adjustment.currency,
            amount=currency.to_text(adjustment.amount),
            balance_after=currency.to_text(adjustment.balance_after),
            kind=adjustment.kind,
            operation_key=adjustment.key,
            created_at=adjustment.at,
        )


class StatementOut(BaseModel):
    """A page of a statement, newest first."""

    items: list[AdjustmentOut]
    next_cursor: str | None = Field(description="pass it as `cursor` for the next page")


class KeyHashIn(Body):
    """The SHA-256 of an API key."""

    key_hash: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class PrincipalOut(BaseModel):
    """Whom a key stands for."""

    tenant_id: int
    key_id: int
    scopes: list[str]


class LegIn(Body):
    """One side of an operation; the amount is whole smallest units with a sign."""

    owner: str
    amount: Annotated[str, StringConstraints(pattern="^-?[0-9]{1,31}$")]


class OperationIn(Body):
    """An operation to post."""

    key: str
    kind: str
    tenant_id: Annotated[int, Field(ge=HOUSE_TENANT, le=MAX_ID)]
    currency: str
    legs: Annotated[list[LegIn], Field(max_length=10)]
    request_id: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_.-]{1,64}$")] | None = None

    def to_domain(self) -> Operation:
        """Return the operation."""
        legs = tuple(Leg(leg.owner, int(leg.amount)) for leg in self.legs)
        asked_by = self.request_id or request_id()
        return Operation(self.key, self.kind, self.tenant_id, self.currency, legs, asked_by)


class OperationsIn(Body):
    """A batch of operations."""

    operations: Annotated[list[OperationIn], Field(min_length=1, max_length=100)]


class VoidIn(Body):
    """The key of a hold that must not be applied any more; nothing else can be voided."""

    key: Annotated[str, StringConstraints(pattern="^deal:[1-9][0-9]{0,18}:hold:[1-9][0-9]{0,9}$")]


class ResultOut(BaseModel):
    """How an operation ended: applied, rejected, voided, mismatch or invalid."""

    key: str
    outcome: str
    reason: str | None


class LookupIn(Body):
    """Users to look up in a tenant."""

    tenant_id: IdField
    user_ids: Annotated[list[IdField], Field(max_length=100)]


class LookupOut(BaseModel):
    """Those that exist."""

    user_ids: list[int]


class OwnersIn(Body):
    """Accounts to read in a tenant."""

    tenant_id: IdField
    owners: Annotated[list[str], Field(max_length=500)]


class OwnerBalanceOut(BaseModel):
    """An account's balance in smallest units."""

    owner: str
    currency: str
    balance_units: str


class OwnerBalancesOut(BaseModel):
    """The accounts that have moved."""

    balances: list[OwnerBalanceOut]


class OutsideOut(BaseModel):
    """An applied operation between the ledger and the outside: a deposit, funding, a fee or a payout."""

    id: int
    key: str
    kind: str
    tenant_id: int
    currency: str | None
    amount_units: str
    outside: str | None = Field(description="the account outside, for example external:tron_usdt")
    inside: str | None = Field(description="the other account, for example user:7")


class OutsidePageOut(BaseModel):
    """A page of them."""

    operations: list[OutsideOut]


class KeysIn(Body):
    """Keys of operations."""

    keys: Annotated[list[Annotated[str, StringConstraints(max_length=200)]], Field(max_length=500)]


EndedIds = Annotated[list[IdField], Field(max_length=500)]


class StandingIn(Body):
    """Keys and tenants, by their ids."""

    key_ids: EndedIds
    tenant_ids: EndedIds


class StandingOut(BaseModel):
    """Those that stand for nobody any more, unknown ones among them."""

    revoked_key_ids: list[int]
    closed_tenant_ids: list[int]


class OutcomeOut(BaseModel):
    """How an operation ended, and what its taking side got."""

    key: str
    outcome: str
    amount_units: str | None


class OutcomesOut(BaseModel):
    """The outcomes that are stored."""

    outcomes: list[OutcomeOut]


class HeldOut(BaseModel):
    """What a deal's account holds."""

    id: int
    tenant_id: int
    owner: str
    currency: str
    balance_units: str


class HeldPageOut(BaseModel):
    """A page of deals' accounts that hold something."""

    held: list[HeldOut]
