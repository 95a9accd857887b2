"""Prove the sequences of messages and system events, and that events were told and handled."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from chat.db import invariants
from chat.domain.turns import turn_of
from common.clock import Clock
from common.db import Database
from common.gaps import Followed, compare

TOLD_WITHIN = timedelta(days=1)
"""How far back events are looked for in the outbox."""


async def check_invariants(
    database: Database, clock: Clock, followed: Sequence[Followed], every: timedelta = timedelta()
) -> dict[str, Any]:
    """Return the violations, our own in one snapshot.

    Args:
        every: the time from one pass to the next.

    Raises:
        Unavailable: when a producer that we follow can't be asked.
    """
    now = clock.now()
    async with database.snapshot() as connection:
        turn = turn_of(now, every, await invariants.count_messages(connection))
        found: dict[str, list[Any]] = await invariants.check(connection, turn, now - TOLD_WITHIN)
    found |= await compare(database, followed)
    return {"ok": not any(found.values()), "violations": found}
