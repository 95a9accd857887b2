"""The shapes of requests and answers."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, StringConstraints

from common.ids import MAX_ID
from common.money import Amount, Currency
from common.web import Body, PossiblyEmpty, Text
from deals.domain.model import Action, Command, Deal, Status
from deals.domain.transitions import PUBLIC_ACTIONS

LAST_YEAR = 9000

IdField = Annotated[int, Field(ge=1, le=MAX_ID)]
Title = Annotated[Text, StringConstraints(max_length=200)]
Description = Annotated[PossiblyEmpty, StringConstraints(max_length=10_000)]


def _in_utc(moment: datetime) -> datetime:
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is out of range") from error
    if in_utc.year > LAST_YEAR:
        raise ValueError(f"the time must lie before the year {LAST_YEAR + 1}")
    return in_utc


class DealIn(Body):
    """A deal to create."""

    title: Title = Field(examples=["A logo"])
    description: Description = Field(examples=["Three drafts and the source files"])
    price: Amount
    currency: Annotated[str, StringConstraints(max_length=12)] = Field("USDT", examples=["USDT"])
    customer_id: IdField = Field(examples=[1])
    performer_id: IdField = Field(examples=[2])
    deadline_at: Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_utc)] | None = Field(
        None, description="with a zone; an unpaid deal past it expires"
    )


class DisputeIn(Body):
    """What the parties disagree about."""

    title: Title = Field(examples=["Not as described"])
    description: Description = Field(examples=["The source files are missing"])


class ChatTokenIn(Body):
    """Whom the token is for; without `user_id` for the arbiter."""

    user_id: IdField | None = Field(None, examples=[1])


class ChatTokenOut(BaseModel):
    """A participant token for Socket.IO's `auth.token`."""

    token: str
    expires_at: datetime


class DisputeOut(BaseModel):
    """A dispute."""

    title: str
    description: str
    opened_at: datetime


class PendingOut(BaseModel):
    """An action whose money is in flight."""

    action: str
    since: datetime


class DealOut(BaseModel):
    """A deal."""

    deal_id: int
    chat_id: UUID
    status: str = Field(examples=["created"])
    title: str
    description: str
    price: str = Field(examples=["12.500000"])
    currency: str
    customer_id: int
    performer_id: int
    amount_missing: str | None = Field(
        examples=["2.500000"],
        description="what the customer's balance lacks while the deal waits for payment; null when the ledger"
        " did not answer",
    )
    deadline_at: datetime | None
    overdue: bool
    dispute: DisputeOut | None
    allowed_actions: list[str]
    pending: PendingOut | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, deal: Deal, pending: Command | None, currency: Currency, missing: int | None = 0) -> "DealOut":
        """Show a deal; `missing` is in smallest units, None when it is not known."""
        allowed = PUBLIC_ACTIONS[deal.status] if pending is None else ()
        return cls(
            deal_id=deal.id,
            chat_id=deal.chat_id,
            status=deal.status.value,
            title=deal.title,
            description=deal.description,
            price=currency.to_text(deal.price),
            currency=deal.currency,
            customer_id=deal.customer_id,
            performer_id=deal.performer_id,
            amount_missing=None if missing is None else currency.to_text(missing),
            deadline_at=deal.deadline_at,
            overdue=deal.overdue_at is not None,
            dispute=None
            if deal.dispute is None
            else DisputeOut(
                title=deal.dispute.title,
                description=deal.dispute.description,
                opened_at=deal.dispute.opened_at,
            ),
            allowed_actions=[action.value for action in allowed],
            pending=None if pending is None else PendingOut(action=_asked(pending), since=pending.created_at),
            created_at=deal.created_at,
            updated_at=deal.updated_at,
        )


def _asked(pending: Command) -> str:
    """Return what the deal waits for: a hold that is being voided is a cancel or an expiry."""
    ends = {Status.CANCELLED: Action.CANCEL, Status.EXPIRED: Action.EXPIRE}
    return (ends[pending.void_to] if pending.void_to else pending.action).value


class DealsOut(BaseModel):
    """A page of deals, newest first."""

    items: list[DealOut]
    next_cursor: str | None = Field(description="pass it as `cursor` for the next page")


class ChatOut(BaseModel):
    """What chat needs to know of a deal."""

    chat_id: UUID
    deal_id: int
    tenant_id: int
    customer_id: int
    performer_id: int
    status: str
    version: int
    """It grows with each change: of two answers, the one with the higher version is newer."""
    ended_at: datetime | None
    """When the deal reached a status that it never leaves."""
