"""What chat needs from deals: whose chat it is, and who holds a token."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from chat.domain.model import Chat, Claims


class Deals(Protocol):
    """The owner of chats."""

    async def find_chat(self, chat_id: UUID) -> Chat | None:
        """Return the chat, or None when no deal has it.

        Raises:
            Unavailable: when deals does not answer.
        """
        ...


class Tokens(Protocol):
    """Checks participant tokens."""

    def read(self, token: str, now: datetime) -> Claims | None:
        """Return what a token says, or None when it is forged, expired or no token at all."""
        ...
