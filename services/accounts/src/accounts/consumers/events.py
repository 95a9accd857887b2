"""The events that accounts follows: what payments received."""

from accounts.use_cases.credit_payments import CONSUMER, credit_payments
from accounts.use_cases.post_operations import Ledger
from common.bus import Bus, Handler
from common.db import Database
from common.dead_letters import DeadLetters
from common.gaps import Followed
from common.internal import InternalClient
from common.runner import Work

DURABLE = "accounts-credit"
SUBJECTS = ("payment.received",)


def handlers(database: Database, ledger: Ledger) -> dict[str, Handler]:
    """Return what is done with each consumer's events."""
    return {DURABLE: lambda events: credit_payments(database, ledger, events)}


def followed(payments: InternalClient) -> list[Followed]:
    """Return the producers whose outbox must agree with our inbox."""
    return [Followed(CONSUMER, payments, SUBJECTS)]


def consumers(bus: Bus, database: Database, handling: dict[str, Handler]) -> list[Work]:
    """Return the work that credits each received payment; it is money, so it is tried for ever."""
    dead = DeadLetters(database)
    return [lambda: bus.consume("PAYMENTS", DURABLE, SUBJECTS, handling[DURABLE], dead)]
