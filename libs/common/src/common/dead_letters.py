"""Dead letters: events that a consumer could not handle, kept where a person sees them, and replayed on request.

A consumer of money tries for ever; what ends here is what could not even be read, and what consumers gave up that
only note things. The worker replays a letter once a command asked for it, with the handler that failed.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from common.crash import crash_point
from common.db import Connection, Database
from common.logging import get_logger, report

log = get_logger()

REPLAY_BATCH = 100

_BURY = sa.text(
    """
    INSERT INTO dead_letter AS d (consumer, digest, subject, payload, error, tries)
    VALUES (:consumer, :digest, :subject, :payload, :error, :tries)
    ON CONFLICT (consumer, digest) DO UPDATE
       SET tries = d.tries + excluded.tries, error = excluded.error, resolved_at = NULL, replay_at = NULL
    """
)
_LIST = sa.text(
    """
    SELECT id, consumer, subject, payload, error, tries, created_at, replay_at FROM dead_letter
     WHERE resolved_at IS NULL ORDER BY id LIMIT :limit
    """
)
_ASK = sa.text(
    """
    UPDATE dead_letter SET replay_at = clock_timestamp()
     WHERE resolved_at IS NULL AND (CAST(:id AS bigint) IS NULL OR id = :id)
    """
)
_ASKED = sa.text(
    """
    SELECT id, subject, payload FROM dead_letter
     WHERE consumer = :consumer AND resolved_at IS NULL AND replay_at IS NOT NULL ORDER BY id LIMIT :limit
    """
)
_DISCARD = sa.text(
    """
    UPDATE dead_letter SET resolved_at = clock_timestamp(), replay_at = NULL, error = 'discarded: ' || error
     WHERE id = :id AND resolved_at IS NULL
    """
)
_RESOLVED = sa.text("UPDATE dead_letter SET resolved_at = clock_timestamp() WHERE id = :id")
_FAILED = sa.text("UPDATE dead_letter SET replay_at = NULL, tries = tries + 1, error = :error WHERE id = :id")
_OPEN = sa.text("SELECT consumer, count(*) FROM dead_letter WHERE resolved_at IS NULL GROUP BY consumer")


class DeadLetter(Exception):
    """An event was set aside: a person has to look (`dead-letters` lists them)."""


@dataclass(frozen=True, slots=True)
class Letter:
    """An event that was set aside, and why."""

    id: int
    consumer: str
    subject: str
    payload: bytes
    error: str
    tries: int
    created_at: datetime
    replay_at: datetime | None


class DeadLetters:
    """The dead letters of one service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bury(self, consumer: str, subject: str, payload: bytes, error: BaseException, tries: int) -> None:
        """Set an event aside, once however often it comes, and tell Sentry."""
        values = {
            "consumer": consumer,
            "digest": hashlib.sha256(payload).hexdigest(),
            "subject": subject,
            "payload": payload,
            "error": repr(error)[:2000],
            "tries": tries,
        }
        async with self._database.transaction() as connection:
            await connection.execute(_BURY, values)
        crash_point("dead_letter.stored")
        log.error("dead_letter.stored", consumer=consumer, subject=subject, error=values["error"])
        report(DeadLetter(f"{consumer}: {subject}: {values['error']}"))

    async def replay(self, consumer: str, handle: Callable[[bytes], Awaitable[None]]) -> int:
        """Hand the letters whose replay was asked for to their consumer; return how many were resolved."""
        async with self._database.transaction() as connection:
            asked = await connection.execute(_ASKED, {"consumer": consumer, "limit": REPLAY_BATCH})
        resolved = 0
        for letter_id, subject, payload in asked:
            try:
                await handle(bytes(payload))
            except Exception as error:  # it stays a dead letter, with the newest reason
                log.error("dead_letter.failed_again", letter_id=letter_id, subject=subject, error=repr(error))
                await self._set(_FAILED, {"id": letter_id, "error": repr(error)[:2000]})
            else:
                await self._set(_RESOLVED, {"id": letter_id})
                resolved += 1
        return resolved

    async def _set(self, statement: sa.TextClause, values: Mapping[str, object]) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(statement, values)

    async def unresolved(self, limit: int = 100) -> list[Letter]:
        """Return the open letters, oldest first."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(_LIST, {"limit": limit})
        return [Letter(r[0], r[1], r[2], bytes(r[3]), *r[4:]) for r in rows]

    async def ask_replay(self, letter_id: int | None) -> int:
        """Ask the worker to replay a letter, or all that are open; return how many."""
        async with self._database.transaction() as connection:
            return await connection.count(_ASK, {"id": letter_id})

    async def discard(self, letter_id: int) -> int:
        """Close a letter that nothing will ever handle; it stays in the table. Return how many were closed."""
        async with self._database.transaction() as connection:
            return await connection.count(_DISCARD, {"id": letter_id})


async def count_open(connection: Connection) -> dict[str, int]:
    """Return how many letters are open, by consumer."""
    return {consumer: int(count) for consumer, count in await connection.execute(_OPEN)}
