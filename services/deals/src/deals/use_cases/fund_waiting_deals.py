"""Fund waiting deals: one pass per customer and currency at a time, oldest deal first.

A deal that does not fit is skipped, so a smaller later one may pass. A credit during a pass makes it begin again:
`wanted` grows, and the pass is done only up to what it was when it began (ADR 0004).
"""

from collections.abc import Sequence
from datetime import timedelta

from common.bus import Received
from common.crash import crash_point
from common.db import Database
from common.errors import ServiceError
from common.ids import bind_request_id
from common.inbox import note
from common.logging import get_logger
from deals.db import commands as command_rows
from deals.db import deals as deal_rows
from deals.db.commands import Funding
from deals.domain.errors import ActionPending, IllegalTransition
from deals.domain.model import Action, Command, Deal
from deals.domain.transitions import MoneyNeeded, act
from deals.use_cases.settle_commands import BATCH, LEASE, Money, post_commands

log = get_logger()

CONSUMER = "request_funding"
PASS_LEASE = timedelta(seconds=20)
"""After a crash a pass waits this long; two at once are harmless, since `_store` locks each deal."""
RETRY = timedelta(seconds=2)
PAGE = 500


async def request_funding(money: Money, events: Sequence[Received]) -> None:
    """Users were credited: ask for a pass over the waiting deals of each in that currency."""
    async with money.database.transaction() as connection:
        new = await note(connection, CONSUMER, [e.id for e in events])
        credited = {(e.tenant_id, int(e.data["user_id"]), str(e.data["currency"])) for e in events if e.id in new}
        await command_rows.want_funding_where_credited(connection, credited)
    crash_point("funding.requested")
    money.wanted()


async def request_all_funding(database: Database) -> int:
    """Ask for a pass wherever deals wait; return how many. It catches what no event told."""
    async with database.transaction() as connection:
        return await command_rows.want_all_funding(connection)


async def fund_waiting_deals(money: Money) -> bool:
    """Run one pass that is due; return whether there was one."""
    bind_request_id(None)
    async with money.database.transaction() as connection:
        funding = await command_rows.claim_funding(connection, money.clock.now(), PASS_LEASE)
    if funding is None:
        return False
    crash_point("funding.claimed")
    done = False
    try:
        done = await _pass(money, funding)
    except ServiceError as error:
        log.warning("funding.postponed", customer_id=funding.customer_id, error=error.detail)
    crash_point("funding.passed")
    async with money.database.transaction() as connection:
        due_at = money.clock.now() + (timedelta() if done else RETRY)
        await command_rows.finish_funding(connection, funding, done=done, due_at=due_at)
    return True


async def _pass(money: Money, funding: Funding) -> bool:
    """Try every waiting deal once; return False when an outcome is not known yet."""
    after, balance = 0, -1
    while True:
        async with money.database.transaction() as connection:
            page = await deal_rows.waiting(
                connection, funding.tenant_id, funding.customer_id, funding.currency, after, PAGE
            )
        if not page:
            return True
        if balance < 0:
            found = await money.accounts.balances(funding.tenant_id, [funding.customer_id])
            balance = found.get((funding.customer_id, funding.currency), 0)
        after = page[-1].id
        fitting, balance = _choose(page, balance)
        for start in range(0, len(fitting), BATCH):
            stored = await _store(money, fitting[start : start + BATCH])
            crash_point("funding.stored")
            if None in await post_commands(money, stored):
                return False


def _choose(page: list[Deal], balance: int) -> tuple[list[Deal], int]:
    """Pick, in order, the deals whose price still fits; return them and what is left."""
    fitting = []
    for deal in page:
        if deal.price <= balance:
            fitting.append(deal)
            balance -= deal.price
    return fitting, balance


async def _store(money: Money, chosen: list[Deal]) -> list[Command]:
    """Store a hold for each deal that still waits."""
    now, needed = money.clock.now(), list[MoneyNeeded]()
    ids = [deal.id for deal in chosen]
    async with money.database.transaction() as connection:
        deals = await deal_rows.lock(connection, ids)
        pending = await command_rows.pending(connection, ids)
        for deal in deals.values():
            try:
                transition = act(deal, pending.get(deal.id), Action.FUND, now)
            except (IllegalTransition, ActionPending):
                continue
            if isinstance(transition, MoneyNeeded):  # otherwise another pass has it in flight
                needed.append(transition)
        if not needed:
            return []
        await deal_rows.save(connection, [n.deal for n in needed])
        return await command_rows.insert(connection, [(n.deal, n.command) for n in needed], now, LEASE)
