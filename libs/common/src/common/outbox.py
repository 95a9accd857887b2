"""The outbox: a fact and its event are one commit, and one relay publishes the rows in order.

What enters: rows that a use case appends in its own transaction. What leaves: messages on JetStream, each
published until the broker has acknowledged it. What never happens: an event without its fact, or a gap.
"""

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import asyncpg
import orjson
import sqlalchemy as sa

from common.crash import crash_point
from common.db import SERVER_SETTINGS, Connection
from common.events import Event
from common.logging import get_logger, report

log = get_logger()

BATCH = 500
BATCH_BYTES = 512_000
POLL_S = 0.2
IDLE_SESSION_MS = 10_000
"""PostgreSQL ends the session, and with it the lock, of a relay that was silent for so long: it was stopped."""
PROVE_AFTER_S = 3.0
"""A relay that did not hear from PostgreSQL for so long makes sure that it still holds the lock."""


# One row each, in the order given.
_APPEND = sa.text(
    """
    INSERT INTO outbox (event_id, subject, envelope)
    SELECT e.event_id, e.subject, e.envelope::jsonb
      FROM unnest(CAST(:event_ids AS uuid[]), CAST(:subjects AS text[]), CAST(:envelopes AS text[]))
           WITH ORDINALITY AS e (event_id, subject, envelope, place)
     ORDER BY e.place
    """
)
_PUBLISHED = sa.text(
    """
    SELECT id, event_id, published_at FROM outbox
     WHERE id > :after AND subject = ANY(:subjects) AND published_at IS NOT NULL AND created_at >= :since
     ORDER BY id LIMIT :limit
    """
)
_UNKNOWN = sa.text(
    """
    SELECT w.event_id FROM unnest(CAST(:event_ids AS uuid[])) AS w (event_id)
     WHERE NOT EXISTS (SELECT FROM outbox o WHERE o.event_id = w.event_id)
    """
)
_AGAIN = sa.text("UPDATE outbox SET published_at = NULL WHERE event_id = ANY(:event_ids)")
_BACKLOG = sa.text(
    """
    SELECT count(*), COALESCE(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
      FROM outbox WHERE published_at IS NULL
    """
)
_PURGE = sa.text(
    """
    DELETE FROM outbox WHERE id IN (
        SELECT id FROM outbox WHERE created_at < :before AND published_at IS NOT NULL ORDER BY id LIMIT :limit)
    """
)


async def append(connection: Connection, events: Sequence[Event]) -> None:
    """Store events in the transaction of their fact, after the aggregate's lock is held."""
    if events:
        values = {
            "event_ids": [e.id for e in events],
            "subjects": [e.type for e in events],
            "envelopes": [orjson.dumps(e.envelope()).decode() for e in events],
        }
        await connection.execute(_APPEND, values)


@dataclass(frozen=True, slots=True)
class Published:
    """An event that the broker has acknowledged; `id` is its place in the outbox."""

    id: int
    event_id: UUID
    published_at: datetime


async def published(
    connection: Connection, subjects: Sequence[str], after: int, since: datetime, limit: int
) -> list[Published]:
    """Return published events of these subjects above a place in the outbox, in its order."""
    values = {"subjects": list(subjects), "after": after, "since": since, "limit": limit}
    return [Published(*row) for row in await connection.execute(_PUBLISHED, values)]


async def unknown(connection: Connection, event_ids: Sequence[UUID]) -> list[UUID]:
    """Return those of the events that were never told here."""
    return [row[0] for row in await connection.execute(_UNKNOWN, {"event_ids": list(event_ids)})]


async def publish_again(connection: Connection, event_ids: Sequence[UUID]) -> int:
    """Let the relay publish these once more; return how many there are."""
    return await connection.count(_AGAIN, {"event_ids": list(event_ids)})


async def backlog(connection: Connection) -> tuple[int, float]:
    """Return how many events wait to be published, and the age of the oldest in seconds."""
    row = await connection.one(_BACKLOG)
    return int(row[0]), float(row[1])


async def purge(connection: Connection, before: datetime, limit: int) -> int:
    """Forget events that were told before a time; return how many."""
    return await connection.count(_PURGE, {"before": before, "limit": limit})


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it is published: `id` makes a second copy harmless."""

    subject: str
    payload: bytes
    id: str


class NotStored(Exception):
    """The broker has stored only the first `stored` messages, as far as it has answered."""

    def __init__(self, stored: int) -> None:
        super().__init__(stored)
        self.stored = stored


class Publisher(Protocol):
    """Where the relay publishes."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return once the broker has stored them all, in order; raise `NotStored` otherwise."""
        ...


class Relay:
    """Publishes the outbox of one service; of several processes one at a time holds the lock.

    The lock is a session's, on a connection of the relay's own, on which it also reads and marks: a pool's
    reset would drop it. Rows are read by `published_at IS NULL`, never by `id > last`, which would skip a
    row that was committed late.
    """

    def __init__(self, url: str, service: str, publisher: Publisher) -> None:
        self._url = url
        self._service = service
        self._publisher = publisher
        self._wake = asyncio.Event()

    def nudge(self) -> None:
        """Look at once; without it new rows are found within `POLL_S`."""
        self._wake.set()

    async def run(self) -> None:
        """Relay until cancelled; every failure is retried with a growing pause."""
        pause_s = 0.5
        while True:
            try:
                await self._hold_lock_and_relay()
            except Exception as error:  # the relay outlives the broker and the database
                log.warning("outbox.relay_failed", error=repr(error.__cause__ or error), retry_in_s=pause_s)
                report(error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 5)

    async def _hold_lock_and_relay(self) -> None:
        settings = SERVER_SETTINGS | {
            "application_name": f"{self._service}-relay",
            "idle_session_timeout": str(IDLE_SESSION_MS),
            "enable_seqscan": "off",  # statistics never know how few rows of the outbox are unpublished
        }
        connection = await asyncpg.connect(self._url, timeout=5, command_timeout=15, server_settings=settings)
        try:
            lock = zlib.crc32(f"outbox:{self._service}".encode())
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):  # noqa: ASYNC110 -- the lock is held by another process, not by a task
                await asyncio.sleep(1)
            while True:
                self._wake.clear()
                if not await self._relay_batch(connection):
                    await self._rest()
        finally:
            await asyncio.shield(connection.close(timeout=2))

    async def _relay_batch(self, connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
        """Publish what waits and mark what was stored; return whether there may be more."""
        loop = asyncio.get_running_loop()
        heard = loop.time()
        rows = await connection.fetch(
            "SELECT id, event_id, subject, envelope FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT $1",
            BATCH,
        )
        if not rows:
            return False
        found = [Message(r["subject"], r["envelope"].encode(), str(r["event_id"])) for r in rows]
        messages = _at_once(found)
        if loop.time() - heard > PROVE_AFTER_S:  # stopped meanwhile: another may have the lock
            await connection.execute("SELECT")
        failure: NotStored | None = None
        try:
            await self._publisher.publish(messages)
        except NotStored as error:
            failure = error
        stored = [r["id"] for r in rows[: len(messages) if failure is None else failure.stored]]
        if stored:
            crash_point("relay.published")
            await connection.execute(
                "UPDATE outbox SET published_at = clock_timestamp() WHERE id = ANY($1)", stored
            )
        elif failure is not None:
            raise failure
        return failure is not None or len(messages) < len(rows) or len(rows) == BATCH

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), POLL_S)
        except TimeoutError:
            return


def _at_once(messages: Sequence[Message]) -> Sequence[Message]:
    """Return as many, from the first, as may be on their way at once."""
    size = 0
    for place, message in enumerate(messages):
        size += len(message.payload)
        if size > BATCH_BYTES:
            return messages[: max(1, place)]
    return messages
