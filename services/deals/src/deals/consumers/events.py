"""The events that deals follows: balances that grew."""

from common.bus import Bus, Handler
from common.dead_letters import DeadLetters
from common.gaps import Followed
from common.internal import InternalClient
from common.runner import Work
from deals.use_cases.fund_waiting_deals import CONSUMER, request_funding
from deals.use_cases.settle_commands import Money

DURABLE = "deals-funding"
SUBJECTS = ("balance.credited",)


def handlers(money: Money) -> dict[str, Handler]:
    """Return what is done with each consumer's events."""
    return {DURABLE: lambda events: request_funding(money, events)}


def followed(accounts: InternalClient) -> list[Followed]:
    """Return the producers whose outbox must agree with our inbox."""
    return [Followed(CONSUMER, accounts, SUBJECTS)]


def consumers(bus: Bus, money: Money, handling: dict[str, Handler]) -> list[Work]:
    """Return the work that looks at a customer's waiting deals when money arrives; it is tried for ever."""
    dead = DeadLetters(money.database)
    return [lambda: bus.consume("ACCOUNTS", DURABLE, SUBJECTS, handling[DURABLE], dead)]
