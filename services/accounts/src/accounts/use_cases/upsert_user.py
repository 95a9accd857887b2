"""Create or rename a user."""

from collections.abc import Callable

from pydantic import BaseModel

from accounts.db import users
from accounts.domain import events
from accounts.domain.users import User
from common import outbox
from common.crash import crash_point
from common.db import Database
from common.idempotency import Retry, begin, keep


async def upsert_user(
    database: Database,
    tenant_id: int,
    named: tuple[int, str],
    retry: Retry | None,
    show: Callable[[User], BaseModel],
) -> User:
    """Create the user, or give the one with this external id the new name.

    Args:
        named: the external id and the name.
        retry: the call's idempotency key, if it has one.
        show: renders the answer that is kept for a retry.
    """
    external_id, name = named
    async with database.transaction() as connection:
        await begin(connection, tenant_id, retry)
        user, changed = await users.upsert(connection, tenant_id, external_id, name)
        if changed:
            await outbox.append(connection, [events.user_upserted(user)])
        await keep(connection, tenant_id, retry, show(user))
    crash_point("user.stored")
    return user
