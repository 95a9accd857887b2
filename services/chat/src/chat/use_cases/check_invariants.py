"""Prove the sequences of messages and system events, and that events were told and handled."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from chat.db import invariants
from common.clock import Clock
from common.db import Database
from common.gaps import Followed, compare

TOLD_WITHIN = timedelta(days=1)
"""How far back events are looked for in the outbox."""


async def check_invariants(database: Database, clock: Clock, followed: Sequence[Followed]) -> dict[str, Any]:
    """Return the violations, our own in one snapshot.

    Raises:
        Unavailable: when a producer that we follow can't be asked.
    """
    async with database.snapshot() as connection:
        found: dict[str, list[Any]] = await invariants.check(connection, clock.now() - TOLD_WITHIN)
    found |= await compare(database, followed)
    return {"ok": not any(found.values()), "violations": found}
