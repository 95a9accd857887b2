"""A deal, its statuses, and the command that moves its money."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Status(StrEnum):
    """Where a deal stands (design: mission, deal states)."""

    CREATED = "created"
    DENY_PERFORMER = "deny_performer"
    WAITING_FOR_PAYMENT = "waiting_for_payment"
    CONFIRM_PERFORMER = "confirm_performer"
    CONFIRMED = "confirmed"
    DISPUTE = "dispute"
    CLOSE = "close"
    ARB_CLOSE_PERFORMER = "arb_close_performer"
    ARB_CLOSE_CUSTOMER = "arb_close_customer"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


FUNDED = frozenset({Status.CONFIRM_PERFORMER, Status.CONFIRMED})
UNFUNDED = frozenset({Status.CREATED, Status.WAITING_FOR_PAYMENT})
HOLDING = FUNDED | {Status.DISPUTE}
"""The statuses in which the deal's account holds its price."""


class Action(StrEnum):
    """What can be done to a deal; `fund` and `expire` are done by Garant itself."""

    CONFIRM = "confirm"
    DENY = "deny"
    CANCEL = "cancel"
    CLOSE = "close"
    DISPUTE = "dispute"
    CLOSE_PERFORMER = "close_performer"
    CLOSE_CUSTOMER = "close_customer"
    FUND = "fund"
    EXPIRE = "expire"


class Movement(StrEnum):
    """How money moves: into the deal, to the performer, back to the customer."""

    HOLD = "hold"
    RELEASE = "release"
    REFUND = "refund"


class CommandState(StrEnum):
    """A command is pending until accounts' answer is recorded."""

    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class Dispute:
    """What the parties disagree about."""

    title: str
    description: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Deal:
    """A deal; the price is in the currency's smallest unit."""

    id: int
    tenant_id: int
    chat_id: UUID
    title: str
    description: str
    price: int
    currency: str
    customer_id: int
    performer_id: int
    status: Status
    deadline_at: datetime | None
    overdue_at: datetime | None
    dispute: Dispute | None
    attempts: int
    """How many money commands the deal has had."""
    version: int
    created_at: datetime
    updated_at: datetime

    def role_of(self, user_id: int) -> str | None:
        """Return `customer`, `performer`, or None for a user who is no party."""
        return {self.customer_id: "customer", self.performer_id: "performer"}.get(user_id)


@dataclass(frozen=True, slots=True)
class NewDeal:
    """A deal that is about to be stored."""

    tenant_id: int
    chat_id: UUID
    title: str
    description: str
    price: int
    currency: str
    customer_id: int
    performer_id: int
    deadline_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewCommand:
    """A movement of the deal's whole price that is about to be stored."""

    action: Action
    movement: Movement
    key: str


@dataclass(frozen=True, slots=True)
class Command:
    """A stored movement; `void_to` says where an unpaid deal goes when the hold is voided instead."""

    id: int
    deal_id: int
    action: Action
    movement: Movement
    key: str
    state: CommandState
    void_to: Status | None
    tries: int
    request_id: str | None
    """The request that asked for it."""
    created_at: datetime
