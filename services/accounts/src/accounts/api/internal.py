"""What the other services call. The gateway does not route here, and each call wants a service credential."""

from typing import Annotated, Any

import orjson
from fastapi import Depends, Query, Request, Response

from accounts.api.schemas import (
    HeldOut,
    HeldPageOut,
    KeyHashIn,
    KeysIn,
    LookupIn,
    LookupOut,
    OperationsIn,
    OutcomeOut,
    OutcomesOut,
    OutsideOut,
    OutsidePageOut,
    OwnerBalanceOut,
    OwnerBalancesOut,
    OwnersIn,
    PrincipalOut,
    ResultOut,
    StandingIn,
    StandingOut,
    VoidIn,
)
from accounts.domain.errors import KeyUnknown
from accounts.domain.ledger import Result
from accounts.use_cases import list_books, read_users
from accounts.use_cases.check_invariants import check_invariants
from accounts.use_cases.manage_keys import find_ended
from accounts.use_cases.post_operations import Ledger, check_kinds
from accounts.use_cases.void_operation import void_operation
from common.auth import KeyVerifier, require_service
from common.web import read_body, router

routes = router(prefix="/internal/v1", include_in_schema=False)

# Each service reaches what it needs and no more.
_poster = require_service("deals", "payments")
Poster = Annotated[str, Depends(_poster)]
Verifier = Annotated[str, Depends(require_service("deals", "payments", "chat"))]
Deals = Annotated[str, Depends(require_service("deals"))]
Payments = Annotated[str, Depends(require_service("payments"))]
Chat = Annotated[str, Depends(require_service("chat"))]
Operator = Annotated[str, Depends(require_service("operator"))]

After = Annotated[int, Query(ge=0)]
"""The id after which a page begins."""


async def post_operations(request: Request) -> Response:
    """Post operations, each with an outcome of its own.

    All money passes here, so it is a plain route: FastAPI's dependencies and models would cost more than the rest.
    """
    caller = await _poster(request)
    body = await read_body(request, OperationsIn)
    ledger: Ledger = request.app.state.ledger
    operations = [operation.to_domain() for operation in body.operations]
    check_kinds(caller, operations)
    results = await ledger.post(operations)
    shown = [{"key": r.key, "outcome": r.outcome, "reason": r.reason} for r in results]
    return Response(orjson.dumps({"results": shown}), media_type="application/json")


routes.add_route("/internal/v1/operations", post_operations, methods=["POST"], include_in_schema=False)


@routes.post("/keys/verify")
async def verify_key(body: KeyHashIn, _: Verifier, request: Request) -> PrincipalOut:
    """Tell whom a key stands for."""
    verifier: KeyVerifier = request.app.state.verifier
    principal = await verifier.verify(body.key_hash)
    if principal is None:
        raise KeyUnknown("no live key has this hash")
    return PrincipalOut(tenant_id=principal.tenant_id, key_id=principal.key_id, scopes=sorted(principal.scopes))


@routes.post("/keys/standing")
async def read_standing(body: StandingIn, _: Chat, request: Request) -> StandingOut:
    """Tell which of these keys were revoked, and which of these tenants were closed."""
    found = await find_ended(request.app.state.database, body.key_ids, body.tenant_ids)
    return StandingOut(revoked_key_ids=found[0], closed_tenant_ids=found[1])


@routes.post("/users/lookup")
async def look_up_users(body: LookupIn, _: Poster, request: Request) -> LookupOut:
    """Tell which of the users exist in the tenant."""
    found = await read_users.find_users(request.app.state.database, body.tenant_id, body.user_ids)
    return LookupOut(user_ids=[user.id for user in found])


@routes.post("/balances")
async def read_balances(body: OwnersIn, _: Deals, request: Request) -> OwnerBalancesOut:
    """Read the balances of accounts."""
    database = request.app.state.database
    found = await read_users.find_balances(database, body.tenant_id, body.owners)
    return OwnerBalancesOut(
        balances=[
            OwnerBalanceOut(owner=owner, currency=currency, balance_units=str(units))
            for (owner, currency), units in found.items()
        ]
    )


@routes.post("/operations/void")
async def void_an_operation(body: VoidIn, _: Deals, request: Request) -> ResultOut:
    """Make sure that a key is never applied later; answers its final outcome."""
    return _show(await void_operation(request.app.state.database, body.key))


@routes.get("/outside")
async def list_outside(_: Payments, request: Request, after: After = 0) -> OutsidePageOut:
    """List what was applied between the ledger and the outside, in the ledger's order."""
    rows = await list_books.list_outside(request.app.state.database, after)
    return OutsidePageOut(operations=[OutsideOut(**row) for row in rows])


@routes.post("/outcomes")
async def list_outcomes(body: KeysIn, _: Payments, request: Request) -> OutcomesOut:
    """Tell how the operations under these keys ended; a key without an outcome is absent."""
    rows = await list_books.list_outcomes(request.app.state.database, body.keys)
    return OutcomesOut(outcomes=[OutcomeOut(**row) for row in rows])


@routes.get("/held")
async def list_held(_: Deals, request: Request, after: After = 0) -> HeldPageOut:
    """List the accounts of deals that hold something."""
    rows = await list_books.list_held(request.app.state.database, after)
    return HeldPageOut(held=[HeldOut(**row) for row in rows])


@routes.get("/invariants")
async def invariants(_: Operator, request: Request) -> dict[str, Any]:
    """Prove the ledger against itself."""
    return await check_invariants(request.app.state.database, request.app.state.followed)


def _show(result: Result) -> ResultOut:
    return ResultOut(key=result.key, outcome=result.outcome.value, reason=result.reason)
