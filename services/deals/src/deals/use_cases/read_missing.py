"""What waiting deals still lack: the price less what the customer has."""

from collections.abc import Mapping, Sequence

from common.errors import Unavailable
from deals.domain.model import Deal, Status
from deals.domain.ports import Accounts


async def read_missing(accounts: Accounts, tenant_id: int, some: Sequence[Deal]) -> Mapping[int, int | None]:
    """Return, for each deal, what its customer's balance lacks while it waits for payment, in smallest units.

    Only a waiting deal lacks anything. None stands where the ledger did not answer: the deal itself is shown.
    """
    waiting = [deal for deal in some if deal.status is Status.WAITING_FOR_PAYMENT]
    missing: dict[int, int | None] = {deal.id: 0 for deal in some}
    if not waiting:
        return missing
    try:
        balances = await accounts.balances(tenant_id, sorted({deal.customer_id for deal in waiting}))
    except Unavailable:
        return missing | {deal.id: None for deal in waiting}
    for deal in waiting:
        missing[deal.id] = max(0, deal.price - balances.get((deal.customer_id, deal.currency), 0))
    return missing
