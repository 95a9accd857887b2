"""Read payments and withdrawals."""

from common.db import Database
from payments.db import chain, payments, seen, withdrawals
from payments.domain.errors import PaymentNotFound, WithdrawalNotFound
from payments.domain.model import Arrived, Payment, Sight, Withdrawal

ARRIVALS = 50
"""As many arrivals of a payment are shown, the newest."""


async def read_payment(database: Database, tenant_id: int, payment_id: int) -> tuple[Payment, Sight]:
    """Return a payment of the tenant, and what its payer sees of the head.

    Raises:
        PaymentNotFound: when there is none.
    """
    async with database.snapshot() as connection:
        payment = await payments.read(connection, tenant_id, payment_id)
        if payment is None:
            raise PaymentNotFound(f"there is no payment {payment_id}")
        return payment, await seen.sight(connection, payment_id)


async def read_withdrawal(database: Database, tenant_id: int, withdrawal_id: int) -> Withdrawal:
    """Return a withdrawal of the tenant.

    Raises:
        WithdrawalNotFound: when there is none.
    """
    async with database.transaction() as connection:
        found = await withdrawals.read(connection, tenant_id, withdrawal_id)
    if found is None:
        raise WithdrawalNotFound(f"there is no withdrawal {withdrawal_id}")
    return found


async def list_withdrawals(
    database: Database, tenant_id: int, before: int, only: tuple[int | None, str | None], limit: int
) -> list[Withdrawal]:
    """Return a page of a tenant's withdrawals below an id, newest first; `only` of a user, or in a status."""
    async with database.transaction() as connection:
        return await withdrawals.page(connection, tenant_id, before, only, limit)


async def read_arrivals(database: Database, payment: Payment) -> list[Arrived]:
    """Return what arrived for a payment, the newest last."""
    async with database.transaction() as connection:
        return await chain.arrivals(connection, payment.id, ARRIVALS)
