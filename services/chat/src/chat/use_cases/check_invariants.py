"""Prove the sequences of messages and system events, and that events were told and handled."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from chat.db import invariants
from chat.db.invariants import Turn
from common.clock import Clock
from common.db import Database
from common.gaps import Followed, compare

TOLD_WITHIN = timedelta(days=1)
"""How far back events are looked for in the outbox."""
TURN = timedelta(minutes=5)
"""How long the same chats have their turn: what is wrong has to be seen in two passes."""
MESSAGES_PER_TURN = 500_000


async def check_invariants(
    database: Database, clock: Clock, followed: Sequence[Followed], turn: timedelta = TURN
) -> dict[str, Any]:
    """Return the violations, our own in one snapshot.

    Args:
        turn: how long some of the chats are proven, before others are; all are where there are few messages.

    Raises:
        Unavailable: when a producer that we follow can't be asked.
    """
    now = clock.now()
    async with database.snapshot() as connection:
        count = await invariants.count_messages(connection)
        whose = turn_of(now, turn, 1 + count // MESSAGES_PER_TURN)
        found: dict[str, list[Any]] = await invariants.check(connection, whose, now - TOLD_WITHIN)
    found |= await compare(database, followed)
    return {"ok": not any(found.values()), "violations": found}


def turn_of(now: datetime, turn: timedelta, turns: int) -> Turn:
    """Return the chats that have their turn: ids are random, so each turn has about as many."""
    number, ids = int(now.timestamp() / turn.total_seconds()) % turns, 1 << 128
    return Turn(UUID(int=number * ids // turns), UUID(int=(number + 1) * ids // turns - 1))
