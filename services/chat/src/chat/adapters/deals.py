"""Deals over HTTP."""

from datetime import datetime
from uuid import UUID

from chat.domain.model import Chat, Standing
from common.internal import InternalClient


class HttpDeals:
    """See `chat.domain.ports.Deals`."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client

    async def find_chat(self, chat_id: UUID) -> Chat | None:
        """See the port."""
        found = await self._client.call("GET", f"/internal/v1/chats/{chat_id}")
        if found is None:
            return None
        ended_at = found["ended_at"]
        return Chat(
            id=chat_id,
            deal_id=found["deal_id"],
            tenant_id=found["tenant_id"],
            customer_id=found["customer_id"],
            performer_id=found["performer_id"],
            standing=Standing(
                found["status"], datetime.fromisoformat(ended_at) if ended_at else None, found["version"]
            ),
        )
