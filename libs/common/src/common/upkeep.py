"""What every worker does beside its own work: it proves, closes gaps, replays, counts and forgets."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from common import idempotency, inbox, metrics, outbox
from common.bus import Handler, replayed
from common.db import Database
from common.dead_letters import DeadLetters, count_open
from common.errors import ServiceError, Unavailable
from common.gaps import Followed, close_gaps
from common.logging import get_logger, report
from common.runner import Work, every

log = get_logger()

COUNT_EVERY_S = 5.0
GAPS_EVERY_S = 15.0
REPLAY_EVERY_S = 2.0
PURGE_EVERY_S = 3600.0
PURGE_BATCH = 1000
OUTBOX_KEPT = timedelta(days=30)
INBOX_KEPT = timedelta(days=37)
"""A week longer than the outbox: what can still be told again is still known."""
KEYS_KEPT = timedelta(days=30)
BUSY_SHARE = 20
"""Checking takes at most a twentieth of the time, however long the history is."""

Check = Callable[[], Awaitable[dict[str, Any]]]


class InvariantViolated(Exception):
    """The same object was wrong in two passes; the text names it."""


@dataclass(slots=True)
class Watch:
    """Runs a service's check and raises an alarm for what is wrong in two passes, once.

    One look may fall between two commits of one movement; the second then sees it whole.
    """

    check: Check
    _suspects: set[tuple[str, str]] = field(default_factory=set)
    _alarmed: set[tuple[str, str]] = field(default_factory=set)

    async def look(self) -> None:
        """Check once."""
        found = await self.check()
        violations: Mapping[str, Sequence[Any]] = found["violations"]
        wrong = {(name, repr(item)) for name, items in violations.items() for item in items}
        confirmed, self._suspects = wrong & self._suspects, wrong
        for name in violations:
            metrics.VIOLATIONS.labels(name).set(
                sum(1 for confirmed_name, _ in confirmed if confirmed_name == name)
            )
        for name, item in sorted(confirmed - self._alarmed):
            log.error("invariant.violated", invariant=name, item=item)
            report(InvariantViolated(f"{name}: {item}"))
        self._alarmed = confirmed
        metrics.CHECKED_AT.set(time.time())

    async def run(self, interval_s: float) -> None:
        """Check at this interval, and more rarely where a pass takes long, until cancelled."""
        while True:
            started = time.monotonic()
            try:
                await self.look()
            except ServiceError as error:  # another service is away: nothing is proven, nothing is wrong
                log.warning("invariants.not_checked", error=error.detail)
            except Exception as error:
                log.error("invariants.not_checked", error=repr(error))
                report(error)
            took_s = time.monotonic() - started
            await asyncio.sleep(max(interval_s, took_s * BUSY_SHARE))


def upkeep(
    database: Database,
    check: Check,
    interval_s: float,
    followed: Sequence[Followed] = (),
    consumers: Mapping[str, Handler] | None = None,
) -> list[Work]:
    """Return the upkeep of one worker.

    Args:
        check: proves the service's invariants.
        interval_s: how often they are proven.
        followed: the producers whose events we handle.
        consumers: the handlers that dead letters are replayed with, by the consumer's durable name.
    """
    letters = DeadLetters(database)

    async def count() -> None:
        async with database.transaction() as connection:
            waiting, age_s = await outbox.backlog(connection)
            dead = await count_open(connection)
        metrics.OUTBOX_WAITING.set(waiting)
        metrics.OUTBOX_AGE.set(age_s)
        for name in {*(consumers or {}), *dead}:
            metrics.DEAD_LETTERS.labels(name).set(dead.get(name, 0))

    async def replay() -> None:
        for name, handler in (consumers or {}).items():
            await letters.replay(name, replayed(handler))

    async def gaps() -> None:
        try:
            await close_gaps(database, followed)
        except Unavailable as error:  # the producer is away: it is asked again
            log.warning("gaps.not_looked_for", error=error.detail)

    watch = Watch(check)
    return [
        lambda: watch.run(interval_s),
        lambda: every(COUNT_EVERY_S, "count", count),
        lambda: every(REPLAY_EVERY_S, "replay", replay),
        lambda: every(GAPS_EVERY_S, "gaps", gaps),
        lambda: every(PURGE_EVERY_S, "purge", lambda: purge(database, datetime.now(UTC))),
    ]


async def purge(database: Database, now: datetime) -> None:
    """Forget events that were told and handled long ago, and keys whose retries are over."""
    for forget, kept in (
        (outbox.purge, OUTBOX_KEPT),
        (inbox.purge, INBOX_KEPT),
        (idempotency.purge, KEYS_KEPT),
    ):
        forgotten = PURGE_BATCH
        while forgotten == PURGE_BATCH:
            async with database.transaction() as connection:
                forgotten = await forget(connection, now - kept, PURGE_BATCH)
