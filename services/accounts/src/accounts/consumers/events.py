"""The events that accounts follows: what payments received."""

from collections.abc import Awaitable, Callable

from accounts.use_cases.credit_payment import credit_payment
from accounts.use_cases.post_operations import Ledger
from common.bus import Bus
from common.db import Database


def payments_received(bus: Bus, database: Database, ledger: Ledger) -> Callable[[], Awaitable[None]]:
    """Return the work that credits each received payment."""

    async def work() -> None:
        await bus.consume(
            "PAYMENTS",
            "accounts-credit",
            ["payment.received"],
            lambda event: credit_payment(database, ledger, event),
        )

    return work
