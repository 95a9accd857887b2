"""What a client has of a chat, what it lacks, and how far it says it has read. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from chat.domain.errors import MessageIgnored, NotAParty
from chat.domain.model import MAX_ID, Admission, ChatState, Message, ReadMark, Role, SystemEvent
from common.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Position:
    """What a client has: the `seq` of its last message, and of the last thing the system said."""

    message: int = 0
    system: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Stored messages and what the system said, after a position; `more` when that is not all."""

    state: ChatState
    system_events: tuple[SystemEvent, ...]
    messages: tuple[Message, ...]
    more: bool

    def end(self, start: Position) -> Position:
        """Return what a client has after this page, which began after `start`.

        A client that says it has more than there is, has what there is.
        """
        return Position(
            self.messages[-1].seq if self.messages else min(start.message, self.state.last_seq),
            self.system_events[-1].seq if self.system_events else min(start.system, self.state.last_system_seq),
        )


def position(auth: Mapping[str, object]) -> Position:
    """Read what a client says it has: `{"after_seq": int, "after_system_seq": int}`, each 0 where it is absent.

    Raises:
        InvalidInput: when one is no whole number.
    """
    return Position(_seq(auth, "after_seq"), _seq(auth, "after_system_seq"))


def _seq(given: Mapping[str, object], name: str) -> int:
    seq = given.get(name, 0)
    if isinstance(seq, bool) or not isinstance(seq, int) or not 0 <= seq <= MAX_ID:
        raise InvalidInput(f"{name} must be a whole number, 0 or more")
    return seq


def read_mark(admission: Admission, payload: object) -> ReadMark:
    """Read a client's `read` payload, `{"seq": int}`; where its token names no party, `user_id` does.

    Raises:
        MessageIgnored: when it does not fit the schema.
        NotAParty: when it names somebody else.
    """
    if not isinstance(payload, dict):
        raise MessageIgnored("the payload must be an object")
    seq, user_id = payload.get("seq"), payload.get("user_id", admission.claims.user_id)
    if isinstance(seq, bool) or not isinstance(seq, int) or not 1 <= seq <= MAX_ID:
        raise MessageIgnored("seq must be the number of a message")
    return ReadMark(admission.chat.id, _reader(admission, user_id), seq)


def _reader(admission: Admission, user_id: object) -> Role:
    chat, claims = admission.chat, admission.claims
    if claims.role is not None and user_id == claims.user_id:
        return claims.role
    if claims.role is None and isinstance(user_id, int) and not isinstance(user_id, bool):
        role = chat.role_of(user_id)
        if role is not None:
            return role
    raise NotAParty("user_id must be the party whose token this is, or one of the two parties")
