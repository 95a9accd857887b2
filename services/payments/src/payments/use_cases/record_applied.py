"""Record that accounts has credited a deposit."""

from common.bus import Received
from common.crash import crash_point
from common.inbox import first_time
from payments.db import chain
from payments.use_cases.context import Payments

CONSUMER = "record_applied"


async def record_applied(parts: Payments, event: Received) -> None:
    """Note a deposit as applied, when the credit was one."""
    async with parts.database.transaction() as connection:
        if await first_time(connection, CONSUMER, event.id) and event.data["kind"] == "deposit":
            await chain.applied(connection, event.data["operation_key"], parts.clock.now())
    crash_point("applied.noted")
