"""The inbox: an event's effect and the note that it was handled are one commit, so a redelivery does nothing."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from common.db import Connection

# Sorted, so that two who note the same events wait for each other in one order.
_NOTE = sa.text(
    """
    INSERT INTO inbox (consumer, event_id)
    SELECT CAST(:consumer AS text), e.id FROM unnest(CAST(:event_ids AS uuid[])) AS e (id) ORDER BY e.id
    ON CONFLICT DO NOTHING RETURNING event_id
    """
)
_MISSING = sa.text(
    """
    SELECT w.event_id FROM unnest(CAST(:event_ids AS uuid[])) AS w (event_id)
     WHERE NOT EXISTS (SELECT FROM inbox i WHERE i.consumer = :consumer AND i.event_id = w.event_id)
    """
)
_PAGE = sa.text(
    """
    SELECT event_id FROM inbox
     WHERE consumer = :consumer AND event_id > :after AND received_at >= :since ORDER BY event_id LIMIT :limit
    """
)
_PURGE = sa.text(
    """
    DELETE FROM inbox WHERE (consumer, event_id) IN (
        SELECT consumer, event_id FROM inbox WHERE received_at < :before LIMIT :limit)
    """
)


async def note(connection: Connection, consumer: str, event_ids: Sequence[UUID]) -> set[UUID]:
    """Note that `consumer` handles the events in this transaction; return those that it had not handled yet."""
    rows = await connection.execute(_NOTE, {"consumer": consumer, "event_ids": list(event_ids)})
    return {row[0] for row in rows}


async def missing(connection: Connection, consumer: str, event_ids: Sequence[UUID]) -> list[UUID]:
    """Return those of the events that `consumer` has not handled."""
    values = {"consumer": consumer, "event_ids": list(event_ids)}
    return [row[0] for row in await connection.execute(_MISSING, values)]


async def page(connection: Connection, consumer: str, after: UUID, since: datetime, limit: int) -> list[UUID]:
    """Return events that `consumer` has handled since a time, in the order of their ids, above `after`."""
    values = {"consumer": consumer, "after": after, "since": since, "limit": limit}
    return [row[0] for row in await connection.execute(_PAGE, values)]


async def purge(connection: Connection, before: datetime, limit: int) -> int:
    """Forget what was handled before a time; return how many notes."""
    return await connection.count(_PURGE, {"before": before, "limit": limit})
