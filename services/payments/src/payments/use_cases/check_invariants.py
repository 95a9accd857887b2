"""Our rows against the ledger, our wallets against the chain, and our changes against the outbox.

A pass costs what is new and what takes its turn, never the history (ADR 0018); `reconcile` reads all of it.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from common.gaps import Followed, compare
from payments.db import bookings, books, chain, quarantine, withdrawals
from payments.use_cases.context import Payments
from payments.use_cases.prove_books import not_booked, not_stored
from payments.use_cases.prove_wallets import wallets_unlike_chain

LATE = timedelta(seconds=60)
"""A deposit is credited within seconds; after this it is named."""
NAMED = 20
TOLD_WITHIN = timedelta(days=1)
"""How far back each change is looked for in the outbox."""

Found = list[Any]


async def check_invariants(parts: Payments, followed: Sequence[Followed] = ()) -> dict[str, Any]:
    """Return what does not agree.

    Raises:
        Unavailable: when accounts does not answer. A node that does not answer leaves its wallets for later.
    """
    now = parts.clock.now()
    found: dict[str, Found] = {
        "credited_without_deposit": await not_stored(parts),
        "applied_not_booked": await not_booked(parts),
        "wallet_unlike_chain": [],
    }
    for gateway in parts.gateways.values():
        found["wallet_unlike_chain"] += await wallets_unlike_chain(parts, gateway)
    async with parts.database.snapshot() as connection:
        late = await chain.not_applied(connection, now - LATE, NAMED)
        found["deposit_not_applied"] = [deposit.key for deposit in late]
        unbooked = await bookings.not_applied(connection, now - LATE, NAMED)
        found["withdrawal_late"] = await withdrawals.late(connection, now - LATE, NAMED)
        found["booking_not_applied"] = [booking.key for booking in unbooked]
        found["change_not_told"] = await books.untold(connection, now - TOLD_WITHIN, NAMED)
        aside = await quarantine.still_open(connection, 0, NAMED)
        found["quarantined"] = [asdict(item) for item in aside]
        found["chain_unlike_cursor"] = await chain.unlike(connection)
    found |= await compare(parts.database, followed)
    named = {name: some[:NAMED] for name, some in found.items()}
    return {"ok": not any(found.values()), "violations": named}
