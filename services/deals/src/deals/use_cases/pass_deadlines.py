"""Deadlines: an unpaid deal past it expires; a funded one is told overdue once, and no money moves."""

from dataclasses import replace
from datetime import datetime

from common import outbox
from common.crash import crash_point
from common.db import Connection
from deals.db import commands, deals
from deals.domain import events
from deals.domain.errors import ActionPending
from deals.domain.model import HOLDING, UNFUNDED, Action, Deal
from deals.domain.transitions import Moved, VoidHold, act
from deals.use_cases.settle_commands import Money

BATCH = 100


async def pass_deadlines(money: Money) -> int:
    """Handle deals whose deadline has passed; return how many were looked at."""
    now = money.clock.now()
    async with money.database.transaction() as connection:
        late = await deals.past_deadline(connection, now, BATCH)
    for deal in late:
        async with money.database.transaction() as connection:
            await _pass_deadline(connection, deal.id, now)
        crash_point("deadline.passed")
        money.told()
    return len(late)


async def _pass_deadline(connection: Connection, deal_id: int, now: datetime) -> None:
    deal = (await deals.lock(connection, [deal_id]))[deal_id]  # deals are never deleted
    if deal.status in UNFUNDED:
        await _expire(connection, deal, now)
    elif deal.status in HOLDING and deal.overdue_at is None:
        told = replace(deal, overdue_at=now, version=deal.version + 1)
        await deals.save(connection, [told])
        await outbox.append(connection, [events.overdue(told, now)])


async def _expire(connection: Connection, deal: Deal, now: datetime) -> None:
    pending = (await commands.pending(connection, [deal.id])).get(deal.id)
    try:
        transition = act(deal, pending, Action.EXPIRE, now)
    except ActionPending:  # a cancel voids the hold already
        return
    if isinstance(transition, Moved):
        await deals.save(connection, [transition.deal])
        await outbox.append(connection, [events.status_reached(transition.deal)])
    elif isinstance(transition, VoidHold):
        assert pending is not None
        await commands.void(connection, pending, transition.void_to, now)
