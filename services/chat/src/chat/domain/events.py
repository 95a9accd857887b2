"""The fact that chat tells: messages were stored. Their text stays here."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chat.domain.model import Role
from common.events import Event


@dataclass(frozen=True, slots=True)
class Untold:
    """Messages of one chat that one event tells of: those from `first_seq` to the last, which it shows."""

    chat_id: UUID
    deal_id: int
    tenant_id: int
    first_seq: int
    seq: int
    message_id: int
    user_id: int | None
    role: Role
    created_at: datetime


def messages_stored(untold: Untold) -> Event:
    """Messages were stored; what comes close together is one event (ADR 0019)."""
    return Event(
        type="chat.message",
        aggregate=f"chat:{untold.chat_id}",
        aggregate_version=untold.seq,
        tenant_id=untold.tenant_id,
        occurred_at=untold.created_at,
        data={
            "chat_id": str(untold.chat_id),
            "deal_id": untold.deal_id,
            "first_seq": untold.first_seq,
            "message_id": untold.message_id,
            "seq": untold.seq,
            "user_id": untold.user_id,
            "role": untold.role.value,
        },
    )
