"""Which chats' sequences are counted whole in a pass, where there are too many messages to count all. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

LASTS = timedelta(minutes=5)
PASSES = 3
"""A turn lasts so long, and for so many passes: what is wrong has to be seen in two."""
MESSAGES = 500_000
"""About as many are counted in a turn."""
_IDS = 1 << 128


@dataclass(frozen=True, slots=True)
class Turn:
    """Chats with ids from `low` to `high`."""

    low: UUID
    high: UUID


def turn_of(now: datetime, every: timedelta, messages: int) -> Turn:
    """Return the chats that have their turn: ids are random, so each turn has about as many.

    Args:
        every: the time from one pass to the next.
        messages: how many there are in all.
    """
    turns = 1 + messages // MESSAGES
    number = int(now.timestamp() / max(LASTS, PASSES * every).total_seconds()) % turns
    return Turn(UUID(int=number * _IDS // turns), UUID(int=(number + 1) * _IDS // turns - 1))
