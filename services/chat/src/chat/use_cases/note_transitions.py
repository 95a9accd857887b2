"""Note the transitions of deals: each is a system event of its chat, once, and moves its standing."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from chat.db import system_events
from chat.domain.model import Chat, SystemEvent
from chat.domain.ports import Live
from chat.domain.transitions import Transition, note, standing_after
from common import inbox
from common.bus import Received
from common.crash import crash_point
from common.db import Database

CONSUMER = "note_transitions"
SYSTEM = "system"


async def note_transitions(database: Database, live: Live, events: Sequence[Received]) -> None:
    """Store what is new in one transaction, then tell it to those who are in the chats.

    Who is not told, because we die in between or the broker is away, is told from the database.
    """
    async with database.transaction() as connection:
        new = await inbox.note(connection, CONSUMER, [event.id for event in events])
        coming = {event.id: _transition(event) for event in events if event.id in new}
        chats = await system_events.lock_chats(connection, [one.chat for one in coming.values()])
        # The inbox forgets in the end, and a note of it can be lost; what was said stays.
        said = await system_events.known(connection, list(coming))
        noted, after = note([one for one in coming.values() if one.event_id not in said], chats)
        await system_events.insert(connection, noted, after)
    crash_point("transitions.noted")
    await _tell(live, [one.event for one in noted])


def _transition(event: Received) -> Transition:
    data, status = event.data, str(event.data["status"])
    chat = Chat(
        id=UUID(data["chat_id"]),
        deal_id=int(data["deal_id"]),
        tenant_id=event.tenant_id,
        customer_id=int(data["customer_id"]),
        performer_id=int(data["performer_id"]),
        standing=standing_after(status, event.aggregate_version, event.occurred_at),
    )
    return Transition(event.id, event.type, chat, status, event.occurred_at)


async def _tell(live: Live, events: Sequence[SystemEvent]) -> None:
    by_chat: dict[UUID, list[dict[str, object]]] = defaultdict(list)
    for event in events:
        by_chat[event.chat_id].append(event.shown())
    for chat_id, bodies in by_chat.items():
        await live.tell(chat_id, SYSTEM, bodies)
