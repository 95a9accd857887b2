"""Credit users with payments that were received on chain."""

from collections.abc import Sequence

from accounts.domain.errors import CreditRefused
from accounts.domain.ledger import Leg, Operation, Outcome
from accounts.use_cases.post_operations import Ledger
from common.bus import Received
from common.crash import crash_point
from common.db import Database
from common.inbox import note

CONSUMER = "credit_payment"


def deposit(event: Received) -> Operation:
    """Build the operation of a deposit; its key and body depend on the transfer, the user and the amount only."""
    data, amount = event.data, int(event.data["amount_units"])
    return Operation(
        key=str(data["operation_key"]),
        kind="deposit",
        tenant_id=event.tenant_id,
        currency=str(data["currency"]),
        legs=(
            Leg(f"external:{data['gateway_id']}", -amount),
            Leg(f"user:{data['user_id']}", amount),
        ),
        request_id=event.request_id,
    )


async def credit_payments(database: Database, ledger: Ledger, events: Sequence[Received]) -> None:
    """Post the deposits that `payment.received` tells of; the key makes a second delivery harmless.

    The inbox rows come after the posting, which is gathered with others: the key, which is for ever, is what
    keeps the effect single, and the row tells that the event arrived.

    Raises:
        CreditRefused: when the ledger refuses one; the others are posted, and each event is handed over again.
    """
    operations = [deposit(event) for event in events]
    results = await ledger.post(operations)
    crash_point("credit.posted")
    for operation, result in zip(operations, results, strict=True):
        if result.outcome is not Outcome.APPLIED:
            raise CreditRefused(f"{operation.key}: {result.outcome} ({result.reason})")
    async with database.transaction() as connection:
        await note(connection, CONSUMER, [event.id for event in events])
