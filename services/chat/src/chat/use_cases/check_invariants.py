"""Prove the sequences of messages, and that every message was told."""

from datetime import timedelta
from typing import Any

from chat.db import invariants
from common.clock import Clock
from common.db import Database

TOLD_WITHIN = timedelta(days=1)
"""How far back each message is looked for in the outbox."""


async def check_invariants(database: Database, clock: Clock) -> dict[str, Any]:
    """Return the violations in one snapshot."""
    async with database.snapshot() as connection:
        found = await invariants.check(connection, clock.now() - TOLD_WITHIN)
    return {"ok": not any(found.values()), "violations": found}
