"""What the system says in chats. Its `seq` is given under the chat's lock, as that of messages is, apart."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import sqlalchemy as sa

from chat.domain.model import Chat, Standing, SystemEvent
from chat.domain.transitions import Noted, Told
from common.db import Connection

# Sorted, so that two who come to know the same chats wait for each other in one order.
_INSERT_CHATS = sa.text(
    """
    INSERT INTO chat (id, deal_id, tenant_id, customer_id, performer_id)
    SELECT w.id, w.deal_id, w.tenant_id, w.customer_id, w.performer_id
      FROM unnest(CAST(:ids AS uuid[]), CAST(:deals AS bigint[]), CAST(:tenants AS bigint[]),
                  CAST(:customers AS bigint[]), CAST(:performers AS bigint[]))
           AS w (id, deal_id, tenant_id, customer_id, performer_id)
     ORDER BY w.id ON CONFLICT DO NOTHING
    """
)
_LOCK = sa.text(
    """
    SELECT id, last_system_seq, status, ended_at, deal_version FROM chat
     WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
    """
)
_KNOWN = sa.text("SELECT event_id FROM system_event WHERE event_id = ANY(CAST(:event_ids AS uuid[]))")
_INSERT = sa.text(
    """
    INSERT INTO system_event (chat_id, seq, type, status, created_at, event_id)
    SELECT * FROM unnest(CAST(:chats AS uuid[]), CAST(:seqs AS bigint[]), CAST(:types AS text[]),
                         CAST(:statuses AS text[]), CAST(:created_ats AS timestamptz[]),
                         CAST(:event_ids AS uuid[]))
    """
)
_SAVE = sa.text(
    """
    UPDATE chat c SET last_system_seq = w.last_system_seq, status = w.status, ended_at = w.ended_at,
           deal_version = w.deal_version
      FROM unnest(CAST(:ids AS uuid[]), CAST(:lasts AS bigint[]), CAST(:statuses AS text[]),
                  CAST(:ended_ats AS timestamptz[]), CAST(:versions AS bigint[]))
           AS w (id, last_system_seq, status, ended_at, deal_version)
     WHERE c.id = w.id
    """
)
_HISTORY = sa.text(
    """
    SELECT chat_id, seq, type, status, created_at FROM system_event
     WHERE chat_id = :chat_id AND seq > :after ORDER BY seq LIMIT :limit
    """
)


async def lock_chats(connection: Connection, chats: Sequence[Chat]) -> dict[UUID, Told]:
    """Lock chats until the transaction ends, in the order of their ids; one that is new is stored first."""
    known = sorted({chat.id: chat for chat in chats}.values(), key=lambda chat: chat.id)
    ids = [chat.id for chat in known]
    values = {
        "ids": ids,
        "deals": [chat.deal_id for chat in known],
        "tenants": [chat.tenant_id for chat in known],
        "customers": [chat.customer_id for chat in known],
        "performers": [chat.performer_id for chat in known],
    }
    await connection.execute(_INSERT_CHATS, values)
    rows = await connection.execute(_LOCK, {"ids": ids})
    return {row[0]: Told(row[1], Standing(row[2], row[3], row[4])) for row in rows}


async def known(connection: Connection, event_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of the events that are said already; it has to be asked after their chats are locked."""
    return {row[0] for row in await connection.execute(_KNOWN, {"event_ids": list(event_ids)})}


async def insert(connection: Connection, noted: Sequence[Noted], chats: Mapping[UUID, Told]) -> None:
    """Store system events, and where their chats stand after them; the chats are locked."""
    events = [one.event for one in noted]
    values: dict[str, object] = {
        "chats": [event.chat_id for event in events],
        "seqs": [event.seq for event in events],
        "types": [event.type for event in events],
        "statuses": [event.status for event in events],
        "created_ats": [event.created_at for event in events],
        "event_ids": [one.event_id for one in noted],
    }
    await connection.execute(_INSERT, values)
    values = {
        "ids": list(chats),
        "lasts": [chat.last_system_seq for chat in chats.values()],
        "statuses": [chat.standing.status for chat in chats.values()],
        "ended_ats": [chat.standing.ended_at for chat in chats.values()],
        "versions": [chat.standing.version for chat in chats.values()],
    }
    await connection.execute(_SAVE, values)


async def history(connection: Connection, chat_id: UUID, after: int, limit: int) -> list[SystemEvent]:
    """Return system events with a `seq` above `after`, in order."""
    values = {"chat_id": chat_id, "after": after, "limit": limit}
    return [SystemEvent(*row) for row in await connection.execute(_HISTORY, values)]
