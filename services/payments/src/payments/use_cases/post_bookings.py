"""Tell the ledger what it has to know of the chain besides deposits; the keys make a second try harmless."""

from common.crash import crash_point
from common.logging import get_logger, report
from payments.db import bookings
from payments.use_cases.context import Payments

log = get_logger()

BATCH = 100
MOST_BATCHES = 50


class BookingRefused(Exception):
    """The ledger did not apply a booking: a person has to look."""


async def post_bookings(parts: Payments) -> int:
    """Post what is not applied; return how many were posted.

    Raises:
        Unavailable: when accounts does not answer; the next call posts the same again.
    """
    posted, began = 0, parts.clock.now()
    for _ in range(MOST_BATCHES):
        async with parts.database.transaction() as connection:
            due = await bookings.due(connection, began, BATCH)
        if not due:
            break
        results = await parts.accounts.book(due)
        crash_point("bookings.posted")
        applied = [b.key for b, (outcome, _) in zip(due, results, strict=True) if outcome == "applied"]
        async with parts.database.transaction() as connection:
            await bookings.applied(connection, applied, parts.clock.now())
            await bookings.refused(connection, [b.key for b in due], parts.clock.now())
        posted += len(applied)
        for booking, (outcome, reason) in zip(due, results, strict=True):
            if outcome != "applied":
                log.error("booking.refused", key=booking.key, outcome=outcome, reason=reason)
                report(BookingRefused(f"{booking.key}: {outcome} ({reason})"))
    return posted
