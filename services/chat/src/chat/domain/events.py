"""The fact that chat tells: a message was stored. Its text stays here."""

from chat.domain.model import Draft, Message
from common.events import Event


def message_stored(draft: Draft, message: Message) -> Event:
    """A message was stored."""
    return Event(
        type="chat.message",
        aggregate=f"chat:{message.chat_id}",
        aggregate_version=message.seq,
        tenant_id=draft.chat.tenant_id,
        occurred_at=message.created_at,
        data={
            "chat_id": str(message.chat_id),
            "deal_id": draft.chat.deal_id,
            "message_id": message.id,
            "seq": message.seq,
            "user_id": message.user_id,
            "role": message.role.value,
        },
        request_id=draft.request_id,
    )
