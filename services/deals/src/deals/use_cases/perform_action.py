"""Do an action to a deal: decide under its lock, commit the intent, then move the money."""

import asyncio
import contextlib
from dataclasses import dataclass, replace

from common import outbox
from common.crash import crash_point
from common.errors import Unavailable
from common.idempotency import Retry, begin
from deals.db import commands, deals
from deals.domain import events
from deals.domain.errors import DealNotFound
from deals.domain.model import Action, Command, Deal, Dispute
from deals.domain.transitions import AlreadyDone, InFlight, MoneyNeeded, Moved, VoidHold, act, check_won
from deals.use_cases.settle_commands import LEASE, Money, post_commands

ANSWER_WITHIN_S = 6.0
"""A call to accounts ends sooner; where calls wait for one another, the caller hears that it is pending."""


@dataclass(frozen=True, slots=True)
class Performed:
    """The deal afterwards, its command in flight, if any, and whether that is what was asked for."""

    deal: Deal
    pending: Command | None
    in_flight: bool


async def perform_action(
    money: Money,
    tenant_id: int,
    deal_id: int,
    action: Action,
    dispute: tuple[str, str] | None = None,
    retry: Retry | None = None,
) -> Performed:
    """Do the action, or find that it is done already or still in flight.

    Args:
        dispute: title and description, with the action `dispute` alone.
        retry: the call's idempotency key, if it has one; a call that came before is shown the deal as it is.

    Raises:
        DealNotFound: when the tenant has no such deal.
        IllegalTransition: when the status does not allow the action, or the deal ended before it was done.
        ActionPending: while another action's money is in flight.
    """
    now = money.clock.now()
    about = Dispute(*dispute, opened_at=now) if dispute else None
    async with money.database.transaction() as connection:
        deal = (await deals.lock(connection, [deal_id])).get(deal_id)
        if deal is None or deal.tenant_id != tenant_id:
            raise DealNotFound(f"there is no deal {deal_id}")
        pending = (await commands.pending(connection, [deal_id])).get(deal_id)
        if not await begin(connection, tenant_id, retry):
            check_won(deal, action)
            return Performed(deal, pending, in_flight=pending is not None)
        match act(deal, pending, action, now, about):
            case AlreadyDone():
                return Performed(deal, pending, in_flight=False)
            case InFlight():
                return Performed(deal, pending, in_flight=True)
            case Moved(deal):
                await deals.save(connection, [deal])
                await outbox.append(connection, [events.status_reached(deal)])
                command = None
            case MoneyNeeded(deal, new):
                await deals.save(connection, [deal])
                (command,) = await commands.insert(connection, [(deal, new)], now, LEASE)
            case VoidHold(void_to):
                assert pending is not None
                await commands.void(connection, pending, void_to, now)
                return Performed(deal, replace(pending, void_to=void_to), in_flight=True)
    crash_point("action.stored")
    money.told()
    if command is None:
        return Performed(deal, None, in_flight=False)
    settled: Deal | None = None
    with contextlib.suppress(TimeoutError, Unavailable):  # it is stored: a worker posts it if nobody else does
        async with asyncio.timeout(ANSWER_WITHIN_S):
            (settled,) = await post_commands(money, [command], {deal.id: deal})
    if settled is None:
        return Performed(deal, command, in_flight=True)
    check_won(settled, action)
    return Performed(settled, None, in_flight=False)
