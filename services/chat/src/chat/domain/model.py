"""Chats, who may enter them, and messages. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from chat.domain.errors import MessageIgnored, NotAParty
from common.ids import request_id

MAX_TEXT = 4000
MAX_ID = 2**63 - 1


class Role(StrEnum):
    """Who speaks."""

    CUSTOMER = "customer"
    PERFORMER = "performer"
    ARBITER = "arbiter"


@dataclass(frozen=True, slots=True)
class Chat:
    """A deal's chat and its two parties."""

    id: UUID
    deal_id: int
    tenant_id: int
    customer_id: int
    performer_id: int

    def role_of(self, user_id: int) -> Role | None:
        """Return a user's role, or None for a stranger."""
        return {self.customer_id: Role.CUSTOMER, self.performer_id: Role.PERFORMER}.get(user_id)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a participant token says; without a role for a plain chat id, which stands for both parties."""

    chat_id: UUID
    role: Role | None = None
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """A connection's right to one chat."""

    chat: Chat
    claims: Claims


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is about to be stored."""

    chat: Chat
    user_id: int | None
    role: Role
    text: str
    request_id: str | None = field(default_factory=request_id)


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message; `seq` counts the chat's messages without gaps."""

    id: int
    chat_id: UUID
    seq: int
    user_id: int | None
    role: Role
    text: str
    created_at: datetime

    def shown(self) -> dict[str, object]:
        """Return the message as clients get it."""
        shown: dict[str, object] = {
            "id": self.id,
            "seq": self.seq,
            "user_id": self.user_id,
            "message": self.text,
            "created_at": self.created_at.isoformat(),
        }
        return shown | ({"role": self.role.value} if self.role is Role.ARBITER else {})


def draft(admission: Admission, payload: object) -> Draft:
    """Read a client's `message` payload, `{"user_id": int, "message": str}`.

    Raises:
        MessageIgnored: when it does not fit the schema.
        NotAParty: when the user may not write here.
    """
    if not isinstance(payload, dict):
        raise MessageIgnored("the payload must be an object")
    text, user_id = payload.get("message"), payload.get("user_id")
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT:
        raise MessageIgnored(f"message must be a text of 1 to {MAX_TEXT} characters")
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise MessageIgnored("message must not hold NUL or lone surrogates")
    chat, claims = admission.chat, admission.claims
    if claims.role is Role.ARBITER:
        if user_id is not None:
            raise NotAParty("an arbiter writes without user_id")
        return Draft(chat, None, Role.ARBITER, text)
    if isinstance(user_id, bool) or not isinstance(user_id, int) or not 1 <= user_id <= MAX_ID:
        raise MessageIgnored("user_id must be a whole number")
    role = chat.role_of(user_id)
    if role is None or claims.user_id not in (None, user_id):
        raise NotAParty(f"user {user_id} may not write here")
    return Draft(chat, user_id, role, text)
