"""The inbox: an event's effect and the note that it was handled are one commit, so a redelivery does nothing."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection


def inbox_table(metadata: sa.MetaData) -> sa.Table:
    """Describe the inbox table, the same in every service."""
    return sa.Table(
        "inbox",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )


_table = inbox_table(sa.MetaData())
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


async def first_time(connection: AsyncConnection, consumer: str, event_id: UUID) -> bool:
    """Note that `consumer` handles the event in this transaction; False when it already did."""
    statement = (
        insert(_table)
        .values(consumer=consumer, event_id=event_id)
        .on_conflict_do_nothing()
        .returning(_table.c.event_id)
    )
    return (await connection.execute(statement)).first() is not None


async def missing(connection: AsyncConnection, consumer: str, event_ids: Sequence[UUID]) -> list[UUID]:
    """Return those of the events that `consumer` has not handled."""
    values = {"consumer": consumer, "event_ids": list(event_ids)}
    return [row[0] for row in await connection.execute(_MISSING, values)]


async def page(connection: AsyncConnection, consumer: str, after: UUID, since: datetime, limit: int) -> list[UUID]:
    """Return events that `consumer` has handled since a time, in the order of their ids, above `after`."""
    values = {"consumer": consumer, "after": after, "since": since, "limit": limit}
    return [row[0] for row in await connection.execute(_PAGE, values)]


async def purge(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget what was handled before a time; return how many notes."""
    return (await connection.execute(_PURGE, {"before": before, "limit": limit})).rowcount
