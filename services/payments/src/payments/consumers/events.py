"""The events that payments follows: credits."""

from collections.abc import Awaitable, Callable

from common.bus import Bus
from payments.use_cases.context import Payments
from payments.use_cases.record_applied import record_applied


def balances_credited(bus: Bus, parts: Payments) -> Callable[[], Awaitable[None]]:
    """Return the work that notes which deposits were credited."""

    async def work() -> None:
        await bus.consume(
            "ACCOUNTS",
            "payments-applied",
            ["balance.credited"],
            lambda event: record_applied(parts, event),
        )

    return work
