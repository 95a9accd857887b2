"""Check that each deal's account holds exactly what its status implies."""

from typing import Any

from common.db import Database
from deals.db import commands, deals
from deals.domain.model import HOLDING, Deal
from deals.domain.ports import Accounts

PAGE = 200
LIMIT = 20


async def check_invariants(database: Database, accounts: Accounts) -> dict[str, Any]:
    """Return the deals whose account holds something else; those with a command in flight are left out.

    A deal that moved between our look and the ledger's is looked at again before it is named.
    """
    after, checked = 0, 0
    wrong: list[dict[str, Any]] = []
    while len(wrong) < LIMIT:
        async with database.transaction() as connection:
            page = await deals.after(connection, after, PAGE)
        if not page:
            break
        after, checked = page[-1].id, checked + len(page)
        for tenant_id in {deal.tenant_id for deal in page}:
            some = [deal for deal in page if deal.tenant_id == tenant_id]
            wrong += await _wrong(database, accounts, tenant_id, some)
    return {"ok": not wrong, "checked": checked, "violations": {"deal_holds_its_price": wrong}}


async def _wrong(database: Database, accounts: Accounts, tenant_id: int, some: list[Deal]) -> list[dict[str, Any]]:
    held = await accounts.held(tenant_id, [deal.id for deal in some])
    suspects = [deal for deal in some if held.get(deal.id, 0) != _implied(deal)]
    wrong = []
    for suspect in suspects:
        async with database.transaction() as connection:
            deal = await deals.read(connection, tenant_id, suspect.id)
            pending = await commands.pending(connection, [suspect.id])
        if deal == suspect and not pending:
            wrong.append(
                {
                    "deal_id": deal.id,
                    "status": deal.status.value,
                    "held_units": str(held.get(deal.id, 0)),
                    "implied_units": str(_implied(deal)),
                }
            )
    return wrong


def _implied(deal: Deal) -> int:
    return deal.price if deal.status in HOLDING else 0
