"""The events that deals follows: balances that grew."""

from collections.abc import Awaitable, Callable

from common.bus import Bus
from deals.use_cases.fund_waiting_deals import request_funding
from deals.use_cases.settle_commands import Money


def balances_credited(bus: Bus, money: Money) -> Callable[[], Awaitable[None]]:
    """Return the work that looks at a customer's waiting deals when money arrives."""

    async def work() -> None:
        await bus.consume(
            "ACCOUNTS",
            "deals-funding",
            ["balance.credited"],
            lambda event: request_funding(money, event),
        )

    return work
