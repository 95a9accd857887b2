"""Record that accounts has credited deposits."""

from collections.abc import Sequence

from common.bus import Received
from common.crash import crash_point
from common.inbox import note
from payments.db import chain
from payments.use_cases.context import Payments

CONSUMER = "record_applied"


async def record_applied(parts: Payments, events: Sequence[Received]) -> None:
    """Note deposits as applied, where the credits were such."""
    async with parts.database.transaction() as connection:
        new = await note(connection, CONSUMER, [e.id for e in events])
        keys = [str(e.data["operation_key"]) for e in events if e.id in new and e.data["kind"] == "deposit"]
        await chain.applied(connection, keys, parts.clock.now())
    crash_point("applied.noted")
