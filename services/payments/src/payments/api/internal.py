"""What operators and the other services call. The gateway does not route here."""

from typing import Annotated, Any

from fastapi import Depends, Request

from common.auth import require_service
from common.web import router
from payments.use_cases.check_invariants import check_invariants

routes = router(prefix="/internal/v1", include_in_schema=False)

Caller = Annotated[str, Depends(require_service("operator"))]


@routes.get("/invariants")
async def invariants(_: Caller, request: Request) -> dict[str, Any]:
    """Tell the totals that the ledger must agree with, and what is late."""
    return await check_invariants(request.app.state.parts, request.app.state.followed)
