"""What the other services call. The gateway does not route here, and each call wants a service credential."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request

from common.auth import require_service
from common.web import router
from deals.api.schemas import ChatOut
from deals.domain.transitions import FINAL
from deals.use_cases.check_invariants import check_invariants
from deals.use_cases.read_deals import read_chat
from deals.use_cases.settle_commands import Money

routes = router(prefix="/internal/v1", include_in_schema=False)

Caller = Annotated[str, Depends(require_service("chat", "operator"))]


@routes.get("/chats/{chat_id}")
async def read_a_chat(chat_id: UUID, _: Caller, request: Request) -> ChatOut:
    """Tell whose chat this is, and where its deal stands."""
    money: Money = request.app.state.money
    deal = await read_chat(money.database, chat_id)
    return ChatOut(
        chat_id=deal.chat_id,
        deal_id=deal.id,
        tenant_id=deal.tenant_id,
        customer_id=deal.customer_id,
        performer_id=deal.performer_id,
        status=deal.status.value,
        version=deal.version,
        ended_at=deal.updated_at if deal.status in FINAL else None,
    )


@routes.get("/invariants")
async def invariants(_: Caller, request: Request) -> dict[str, Any]:
    """Check that each deal's account holds what its status implies."""
    money: Money = request.app.state.money
    return await check_invariants(money.database, money.accounts, request.app.state.followed)
