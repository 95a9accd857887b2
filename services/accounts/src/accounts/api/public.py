"""What marketplaces call: users, balances, statements."""

from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime

from accounts.api.schemas import AdjustmentOut, BalanceOut, StatementOut, UserIn, UserOut
from accounts.domain.errors import UserNotFound
from accounts.use_cases import read_users
from accounts.use_cases.upsert_user import upsert_user
from common.auth import Principal, require
from common.db import Database
from common.idempotency import KeyInFlight, Once
from common.web import Configured, Id, answers, router

routes = router(prefix="/api/v1/user", tags=["users"])

Writer = Annotated[Principal, Depends(require("default"))]
Reader = Annotated[Principal, Depends(require("default", "arbiter"))]


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


Db = Annotated[Database, Depends(_database)]


At = Annotated[
    AwareDatetime | None,
    Query(description="a past time with a zone, at least 30 s ago: what was under way then is settled now"),
]


@routes.post("", responses=answers(KeyInFlight))
async def create_or_update_a_user(body: UserIn, who: Writer, database: Db, once: Once) -> UserOut:
    """Create a user, or rename the one with this `external_id`."""
    named = (body.external_id, body.name)
    return UserOut.of(await upsert_user(database, who.tenant_id, named, once, UserOut.of))


@routes.get("/{user_id}", responses=answers(UserNotFound))
async def read_a_user(user_id: Id, who: Reader, database: Db) -> UserOut:
    """Read a user."""
    return UserOut.of(await read_users.read_user(database, who.tenant_id, user_id))


@routes.get("/{user_id}/balance", responses=answers(UserNotFound))
async def read_balances(
    user_id: Id, who: Reader, database: Db, currencies: Configured, at: At = None
) -> list[BalanceOut]:
    """Read a user's balance, one entry per configured currency; with `at` as it was then."""
    found = await read_users.read_balances(database, currencies, who.tenant_id, user_id, at)
    return [BalanceOut(currency=c.code, balance=c.to_text(units)) for c, units in found]


@routes.get("/{user_id}/adjustments", responses=answers(UserNotFound))
async def read_a_statement(
    user_id: Id,
    who: Reader,
    database: Db,
    currencies: Configured,
    currency: Annotated[str, Query(max_length=12)] = "USDT",
    cursor: Annotated[str | None, Query(pattern="^[1-9][0-9]{0,17}$")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> StatementOut:
    """Read a user's statement in one currency, newest first."""
    user = await read_users.read_user(database, who.tenant_id, user_id)
    unit = currencies.get(currency)
    before = None if cursor is None else int(cursor)
    page = await read_users.read_statement(database, user, unit, before, limit)
    assert unit is not None
    return StatementOut(
        items=[AdjustmentOut.of(adjustment, unit) for adjustment in page],
        next_cursor=str(page[-1].seq) if len(page) == limit and page[-1].seq > 1 else None,
    )
