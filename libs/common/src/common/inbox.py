"""The inbox: an event's effect and the note that it was handled are one commit, so a redelivery does nothing."""

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


async def first_time(connection: AsyncConnection, consumer: str, event_id: UUID) -> bool:
    """Note that `consumer` handles the event in this transaction; False when it already did."""
    statement = (
        insert(_table)
        .values(consumer=consumer, event_id=event_id)
        .on_conflict_do_nothing()
        .returning(_table.c.event_id)
    )
    return (await connection.execute(statement)).first() is not None
