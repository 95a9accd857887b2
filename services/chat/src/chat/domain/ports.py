"""What chat needs from others: whose chat it is, who holds a token and still may, and a way to those in a chat."""

from collections.abc import Collection, Sequence
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


class Keys(Protocol):
    """The owner of API keys and tenants."""

    async def ended(
        self, key_ids: Collection[int], tenant_ids: Collection[int]
    ) -> tuple[Collection[int], Collection[int]]:
        """Return those of the keys that were revoked, and those of the tenants that were closed.

        Raises:
            Unavailable: when accounts does not answer.
        """
        ...


class Live(Protocol):
    """The way to everybody who is in a chat now, wherever they are connected."""

    async def tell(self, chat_id: UUID, kind: str, bodies: Sequence[dict[str, object]]) -> None:
        """Send what was stored; it never fails, and who does not hear it is told from the database."""
        ...
