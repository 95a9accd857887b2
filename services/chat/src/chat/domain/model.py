"""Chats, who may enter them and write, and what is said in them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from chat.domain.errors import MessageIgnored, NoDispute, NotAParty, ReadOnly

MAX_TEXT = 4000
MAX_ID = 2**63 - 1
MAX_CLIENT_MSG_ID = 64
READ_ONLY_AFTER = timedelta(days=30)
"""How long after the end of its deal a chat is still written in, unless a setting says otherwise."""

DISPUTE = "dispute"
FINAL = frozenset({"deny_performer", "close", "arb_close_performer", "arb_close_customer", "cancelled", "expired"})
"""The statuses that a deal never leaves."""


class Role(StrEnum):
    """Who speaks."""

    CUSTOMER = "customer"
    PERFORMER = "performer"
    ARBITER = "arbiter"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the deal of a chat stands, as far as we were told; a higher version is newer."""

    status: str | None = None
    """None until somebody has told."""
    ended_at: datetime | None = None
    version: int = 0


UNTOLD = Standing()


@dataclass(frozen=True, slots=True)
class Chat:
    """A deal's chat and its two parties."""

    id: UUID
    deal_id: int
    tenant_id: int
    customer_id: int
    performer_id: int
    standing: Standing = UNTOLD

    def role_of(self, user_id: int) -> Role | None:
        """Return a user's role, or None for a stranger."""
        return {self.customer_id: Role.CUSTOMER, self.performer_id: Role.PERFORMER}.get(user_id)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a participant token says; without a role for a plain chat id, which stands for both parties."""

    chat_id: UUID
    role: Role | None = None
    user_id: int | None = None
    key_id: int | None = None
    """The API key that asked for the token; older tokens do not say."""
    expires_at: datetime | None = None


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
    client_msg_id: str | None = None
    """What the client calls it: sent again under the same name, it is the same message."""


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


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """What the system says in a chat: a transition of its deal. `seq` counts a chat's, apart from its messages."""

    chat_id: UUID
    seq: int
    type: str
    status: str
    created_at: datetime

    def shown(self) -> dict[str, object]:
        """Return the event as clients get it."""
        return {
            "seq": self.seq,
            "type": self.type,
            "status": self.status,
            "created_at": self.created_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class ReadMark:
    """How far a role has read a chat: up to the message with this `seq`."""

    chat_id: UUID
    role: Role
    seq: int


@dataclass(frozen=True, slots=True)
class ChatState:
    """What of a chat changes while clients are in it."""

    id: UUID
    last_seq: int
    last_system_seq: int
    read_seqs: Mapping[Role, int]
    standing: Standing


def may_enter(standing: Standing, claims: Claims) -> bool:
    """Tell whether the deal's standing lets somebody in: parties always, an arbiter while a dispute is open."""
    return claims.role is not Role.ARBITER or standing.status == DISPUTE


def may_write(standing: Standing, who: Claims | Draft, now: datetime, read_only_after: timedelta) -> None:
    """Check that the deal's standing lets somebody write.

    Args:
        read_only_after: how long after its end a deal's chat is still written in.

    Raises:
        NoDispute: when it is an arbiter, and no dispute is open.
        ReadOnly: when the deal ended so long ago.
    """
    if who.role is Role.ARBITER and standing.status != DISPUTE:
        raise NoDispute("an arbiter writes while a dispute is open")
    if standing.ended_at is not None and now - standing.ended_at >= read_only_after:
        raise ReadOnly(f"the deal ended on {standing.ended_at:%Y-%m-%d}; its chat is only read")


def draft(admission: Admission, payload: object) -> Draft:
    """Read a client's `message` payload, `{"user_id": int, "message": str, "client_msg_id": str}`.

    Raises:
        MessageIgnored: when it does not fit the schema.
        NotAParty: when the user may not write here.
    """
    if not isinstance(payload, dict):
        raise MessageIgnored("the payload must be an object")
    text, user_id = _text(payload.get("message")), payload.get("user_id")
    client_msg_id = _client_msg_id(payload.get("client_msg_id"))
    chat, claims = admission.chat, admission.claims
    if claims.role is Role.ARBITER:
        if user_id is not None:
            raise NotAParty("an arbiter writes without user_id")
        return Draft(chat, None, Role.ARBITER, text, client_msg_id)
    if isinstance(user_id, bool) or not isinstance(user_id, int) or not 1 <= user_id <= MAX_ID:
        raise MessageIgnored("user_id must be a whole number")
    role = chat.role_of(user_id)
    if role is None or claims.user_id not in (None, user_id):
        raise NotAParty(f"user {user_id} may not write here")
    return Draft(chat, user_id, role, text, client_msg_id)


def _text(text: object) -> str:
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT:
        raise MessageIgnored(f"message must be a text of 1 to {MAX_TEXT} characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MessageIgnored("message must not hold lone surrogates") from error
    if "\x00" in text:
        raise MessageIgnored("message must not hold NUL")
    return text


def _client_msg_id(given: object) -> str | None:
    """Read what a client calls its message; a name of its own is never asked for."""
    if given is None:
        return None
    if not isinstance(given, str) or not 1 <= len(given) <= MAX_CLIENT_MSG_ID or not given.isprintable():
        raise MessageIgnored(f"client_msg_id must be a text of 1 to {MAX_CLIENT_MSG_ID} printable characters")
    return given
