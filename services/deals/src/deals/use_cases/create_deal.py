"""Create a deal between two users of a tenant."""

from collections.abc import Callable

from pydantic import BaseModel

from common import outbox
from common.crash import crash_point
from common.idempotency import Retry, begin, keep
from deals.db import deals
from deals.domain import events
from deals.domain.errors import InvalidDeal, UnknownParty
from deals.domain.model import Deal, NewDeal
from deals.use_cases.settle_commands import Money


async def create_deal(money: Money, new: NewDeal, retry: Retry | None, show: Callable[[Deal], BaseModel]) -> Deal:
    """Store the deal once both parties are known to exist.

    Args:
        retry: the call's idempotency key, if it has one.
        show: renders the answer that is kept for a retry.

    Raises:
        InvalidDeal: when the parties are one, or the deadline has passed.
        UnknownParty: when a party is no user of this tenant.
        Unavailable: when accounts can't be asked and a party was never seen before.
    """
    now = money.clock.now()
    if new.customer_id == new.performer_id:
        raise InvalidDeal("customer_id and performer_id must be two different users")
    if new.deadline_at is not None and new.deadline_at <= now:
        raise InvalidDeal("deadline_at must lie in the future")
    if not await money.accounts.users_exist(new.tenant_id, [new.customer_id, new.performer_id]):
        raise UnknownParty("customer_id or performer_id is not a user of yours; POST /user/ first")
    async with money.database.transaction() as connection:
        await begin(connection, new.tenant_id, retry)
        deal = await deals.insert(connection, new, now)
        await outbox.append(connection, [events.status_reached(deal)])
        await keep(connection, new.tenant_id, retry, show(deal))
    crash_point("deal.created")
    money.told()
    return deal
