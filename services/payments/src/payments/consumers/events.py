"""The events that payments follows: credits."""

from common.bus import Bus, Handler
from common.dead_letters import DeadLetters
from common.gaps import Followed
from common.internal import InternalClient
from common.runner import Work
from payments.use_cases.context import Payments
from payments.use_cases.record_applied import CONSUMER, record_applied

DURABLE = "payments-applied"
SUBJECTS = ("balance.credited",)
ATTEMPTS = 20
"""About three minutes. `check_payments` finds what this note would have told, so nothing waits for a letter."""


def handlers(parts: Payments) -> dict[str, Handler]:
    """Return what is done with each consumer's events."""
    return {DURABLE: lambda events: record_applied(parts, events)}


def followed(accounts: InternalClient) -> list[Followed]:
    """Return the producers whose outbox must agree with our inbox."""
    return [Followed(CONSUMER, accounts, SUBJECTS)]


def consumers(bus: Bus, parts: Payments, handling: dict[str, Handler]) -> list[Work]:
    """Return the work that notes which deposits were credited."""
    dead = DeadLetters(parts.database)
    return [lambda: bus.consume("ACCOUNTS", DURABLE, SUBJECTS, handling[DURABLE], dead, ATTEMPTS)]
