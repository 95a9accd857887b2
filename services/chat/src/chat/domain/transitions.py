"""What a deal's transition makes of its chat: a system event, and a standing that only moves forward. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chat.domain.model import FINAL, Chat, Standing, SystemEvent


@dataclass(frozen=True, slots=True)
class Transition:
    """A transition of a deal, as its event tells it; the chat has the standing that it led to."""

    event_id: UUID
    type: str
    chat: Chat
    status: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """What a chat was told so far of its deal; nobody else can tell it more until our transaction ends."""

    last_system_seq: int
    standing: Standing


@dataclass(frozen=True, slots=True)
class Noted:
    """A system event and the event it came from."""

    event: SystemEvent
    event_id: UUID


def standing_after(status: str, version: int, occurred_at: datetime) -> Standing:
    """Return where a deal stands after its change to this version."""
    return Standing(status, occurred_at if status in FINAL else None, version)


def note(transitions: Sequence[Transition], chats: Mapping[UUID, Told]) -> tuple[list[Noted], dict[UUID, Told]]:
    """Number the transitions of each chat in the order they came.

    One that comes late is said all the same, but an older version never takes the place of a newer one.

    Args:
        chats: the transitions' chats, locked.

    Returns:
        The system events, and their chats after them.
    """
    noted: list[Noted] = []
    after: dict[UUID, Told] = {}
    for one in transitions:
        chat_id = one.chat.id
        before = after.get(chat_id) or chats[chat_id]
        seq = before.last_system_seq + 1
        newer = max(before.standing, one.chat.standing, key=lambda standing: standing.version)
        after[chat_id] = Told(seq, newer)
        event = SystemEvent(chat_id, seq, one.type, one.status, one.occurred_at)
        noted.append(Noted(event, one.event_id))
    return noted, after
