"""The shapes of requests and answers."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from common.ids import MAX_ID
from common.money import Amount, Currency
from common.web import Body, Text
from deals.domain.model import Action, Command, Deal
from deals.domain.transitions import PUBLIC_ACTIONS

IdField = Annotated[int, Field(ge=1, le=MAX_ID)]
Title = Annotated[Text, StringConstraints(max_length=200)]
Description = Annotated[Text, StringConstraints(max_length=10_000)]


class DealIn(Body):
    """A deal to create."""

    title: Title = Field(examples=["A logo"])
    description: Description = Field(examples=["Three drafts and the source files"])
    price: Amount
    currency: Annotated[str, StringConstraints(max_length=12)] = Field("USDT", examples=["USDT"])
    customer_id: IdField = Field(examples=[1])
    performer_id: IdField = Field(examples=[2])
    deadline_at: Annotated[AwareDatetime | None, Field(strict=False)] = Field(
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
    deadline_at: datetime | None
    overdue: bool
    dispute: DisputeOut | None
    allowed_actions: list[str]
    pending: PendingOut | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, deal: Deal, pending: Command | None, currency: Currency) -> "DealOut":
        """Show a deal."""
        allowed = PUBLIC_ACTIONS[deal.status]
        if pending is not None:
            allowed = (pending.action,) if pending.action is not Action.FUND else ()
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
            pending=None if pending is None else PendingOut(action=pending.action.value, since=pending.created_at),
            created_at=deal.created_at,
            updated_at=deal.updated_at,
        )


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
