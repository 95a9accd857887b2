"""Tell the totals that the ledger must agree with, and what is late."""

from datetime import timedelta
from typing import Any

from payments.db import chain
from payments.use_cases.context import Payments

LATE = timedelta(seconds=60)
LIMIT = 20


async def check_invariants(parts: Payments) -> dict[str, Any]:
    """Return deposits that accounts has not applied for a minute, and the totals per currency."""
    async with parts.database.snapshot() as connection:
        late = await chain.not_applied(connection, parts.clock.now() - LATE, LIMIT)
        totals = await chain.totals(connection)
    return {
        "ok": not late,
        "violations": {"deposit_not_applied": [deposit.key for deposit in late]},
        "deposits": totals,
    }
