"""Create a deal between two users of a tenant."""

from collections.abc import Callable

from common import outbox
from common.clock import Clock
from common.crash import crash_point
from common.db import Database
from deals.db import deals
from deals.domain import events
from deals.domain.errors import InvalidDeal, UnknownParty
from deals.domain.model import Deal, NewDeal
from deals.domain.ports import Accounts


async def create_deal(
    database: Database, accounts: Accounts, clock: Clock, told: Callable[[], None], new: NewDeal
) -> Deal:
    """Store the deal once both parties are known to exist.

    Args:
        told: called when events were stored.

    Raises:
        InvalidDeal: when the parties are one, or the deadline has passed.
        UnknownParty: when a party is no user of this tenant.
        Unavailable: when accounts can't be asked and a party was never seen before.
    """
    now = clock.now()
    if new.customer_id == new.performer_id:
        raise InvalidDeal("customer_id and performer_id must be two different users")
    if new.deadline_at is not None and new.deadline_at <= now:
        raise InvalidDeal("deadline_at must lie in the future")
    if not await accounts.users_exist(new.tenant_id, [new.customer_id, new.performer_id]):
        raise UnknownParty("customer_id or performer_id is not a user of yours; POST /user/ first")
    async with database.transaction() as connection:
        deal = await deals.insert(connection, new, now)
        await outbox.append(connection, [events.status_reached(deal)])
    crash_point("deal.created")
    told()
    return deal
