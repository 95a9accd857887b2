"""The events that chat follows: every transition of a deal."""

from chat.domain.ports import Live
from chat.use_cases.note_transitions import CONSUMER, note_transitions
from common.bus import Bus, Handler
from common.db import Database
from common.dead_letters import DeadLetters
from common.gaps import Followed
from common.internal import InternalClient
from common.runner import Work

DURABLE = "chat-transitions"
SUBJECTS = (
    "deal.created",
    "deal.denied",
    "deal.waiting_for_payment",
    "deal.confirmed",
    "deal.closed",
    "deal.cancelled",
    "deal.expired",
    "deal.overdue",
    "dispute.opened",
    "dispute.closed",
)
ATTEMPTS = 20
"""About three minutes. An admission asks deals itself for a standing, so nobody is locked out by a letter."""


def handlers(database: Database, live: Live) -> dict[str, Handler]:
    """Return what is done with each consumer's events."""
    return {DURABLE: lambda events: note_transitions(database, live, events)}


def followed(deals: InternalClient) -> list[Followed]:
    """Return the producers whose outbox must agree with our inbox."""
    return [Followed(CONSUMER, deals, SUBJECTS)]


def consumers(bus: Bus, database: Database, handling: dict[str, Handler]) -> list[Work]:
    """Return the work that notes the transitions of deals."""
    dead = DeadLetters(database)
    return [lambda: bus.consume("DEALS", DURABLE, SUBJECTS, handling[DURABLE], dead, ATTEMPTS)]
