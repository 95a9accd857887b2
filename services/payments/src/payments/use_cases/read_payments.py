"""Read payments."""

from common.db import Database
from payments.db import payments
from payments.domain.errors import PaymentNotFound
from payments.domain.model import Payment


async def read_payment(database: Database, tenant_id: int, payment_id: int) -> Payment:
    """Return a payment of the tenant.

    Raises:
        PaymentNotFound: when there is none.
    """
    async with database.transaction() as connection:
        payment = await payments.read(connection, tenant_id, payment_id)
    if payment is None:
        raise PaymentNotFound(f"there is no payment {payment_id}")
    return payment
