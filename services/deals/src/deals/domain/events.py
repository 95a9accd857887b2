"""The facts that deals tells: each transition, once."""

from collections.abc import Mapping
from datetime import datetime

from common.events import Event
from common.ids import request_id
from deals.domain.model import Deal, Status

_TYPES: Mapping[Status, str] = {
    Status.CREATED: "deal.created",
    Status.DENY_PERFORMER: "deal.denied",
    Status.WAITING_FOR_PAYMENT: "deal.waiting_for_payment",
    Status.CONFIRM_PERFORMER: "deal.confirmed",
    Status.CONFIRMED: "deal.confirmed",
    Status.DISPUTE: "dispute.opened",
    Status.CLOSE: "deal.closed",
    Status.ARB_CLOSE_PERFORMER: "dispute.closed",
    Status.ARB_CLOSE_CUSTOMER: "dispute.closed",
    Status.CANCELLED: "deal.cancelled",
    Status.EXPIRED: "deal.expired",
}


def status_reached(deal: Deal, asked_by: str | None = None) -> Event:
    """The deal has reached its present status; `asked_by` is the request that led to it, if not this one."""
    return _event(_TYPES[deal.status], deal, deal.updated_at, asked_by)


def overdue(deal: Deal, now: datetime) -> Event:
    """A funded deal has passed its deadline; no money moves by itself."""
    return _event("deal.overdue", deal, now)


def _event(kind: str, deal: Deal, at: datetime, asked_by: str | None = None) -> Event:
    return Event(
        type=kind,
        aggregate=f"deal:{deal.id}",
        aggregate_version=deal.version,
        tenant_id=deal.tenant_id,
        occurred_at=at,
        data={
            "deal_id": deal.id,
            "chat_id": str(deal.chat_id),
            "status": deal.status.value,
            "customer_id": deal.customer_id,
            "performer_id": deal.performer_id,
            "currency": deal.currency,
            "price_units": str(deal.price),
        },
        request_id=asked_by or request_id(),
    )
