"""Check that deals' accounts hold exactly what the deals' statuses imply, and that every transition was told.

Both ways: each deal that must hold its price, and each account that holds something. What differs is looked at
again before it is named, since the two books are read one after the other.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from common.db import Database
from common.gaps import Followed, compare
from deals.db import commands, deals
from deals.domain.model import HOLDING, Deal
from deals.domain.ports import Accounts

PAGE = 200
NAMED = 20
TOLD_WITHIN = timedelta(days=1)
"""How far back each transition is looked for in the outbox."""


async def check_invariants(
    database: Database, accounts: Accounts, followed: Sequence[Followed] = ()
) -> dict[str, Any]:
    """Return the deals whose account holds something else; those with a command in flight are left out.

    Raises:
        Unavailable: when accounts does not answer.
    """
    suspects, checked = await _short(database, accounts)
    over, more = await _unlike(database, accounts)
    wrong = [w for deal_id in sorted(suspects | over) if (w := await _look_again(database, accounts, deal_id))]
    async with database.snapshot() as connection:
        untold = await deals.untold(connection, datetime.now(UTC) - TOLD_WITHIN, NAMED)
    found = {"deal_holds_its_price": wrong[:NAMED], "change_not_told": untold, **await compare(database, followed)}
    return {"ok": not any(found.values()), "checked": {"deals": checked, "accounts": more}, "violations": found}


async def _short(database: Database, accounts: Accounts) -> tuple[set[int], int]:
    """Return deals that must hold their price and seem not to, and how many there are of the first."""
    suspects, after, checked = set[int](), 0, 0
    while True:
        async with database.transaction() as connection:
            page = await deals.holding(connection, after, PAGE)
        if not page:
            return suspects, checked
        for tenant_id in {deal.tenant_id for deal in page}:
            some = [deal for deal in page if deal.tenant_id == tenant_id]
            held = await accounts.held(tenant_id, [deal.id for deal in some])
            suspects |= {deal.id for deal in some if held.get(deal.id, 0) != deal.price}
        after, checked = page[-1].id, checked + len(page)


async def _unlike(database: Database, accounts: Accounts) -> tuple[set[int], int]:
    """Return deals whose account holds something else than they imply, and how many accounts hold something."""
    suspects, after, checked = set[int](), 0, 0
    while page := await accounts.all_held(after):
        async with database.transaction() as connection:
            known = await deals.read_many(connection, [one.deal_id for one in page])
        suspects |= {one.deal_id for one in page if one.units != _implied(known.get(one.deal_id))}
        after, checked = page[-1].place, checked + len(page)
    return suspects, checked


async def _look_again(database: Database, accounts: Accounts, deal_id: int) -> dict[str, Any] | None:
    """Return what is wrong with a deal, unless it moves, or was moved between two looks."""
    before = await _look(database, deal_id)
    if before is None:
        return {"deal_id": deal_id, "status": "no such deal", "implied_units": "0"}
    held = (await accounts.held(before.tenant_id, [deal_id])).get(deal_id, 0)
    if held == _implied(before) or await _look(database, deal_id) != before:
        return None
    async with database.transaction() as connection:
        if await commands.pending(connection, [deal_id]):
            return None
    return {
        "deal_id": deal_id,
        "status": before.status.value,
        "held_units": str(held),
        "implied_units": str(_implied(before)),
    }


async def _look(database: Database, deal_id: int) -> Deal | None:
    async with database.transaction() as connection:
        return (await deals.read_many(connection, [deal_id])).get(deal_id)


def _implied(deal: Deal | None) -> int:
    return deal.price if deal is not None and deal.status in HOLDING else 0
