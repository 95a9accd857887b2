"""Create or rename a user."""

from accounts.db import users
from accounts.domain import events
from accounts.domain.users import User
from common import outbox
from common.crash import crash_point
from common.db import Database


async def upsert_user(database: Database, tenant_id: int, external_id: int, name: str) -> User:
    """Create the user, or give the one with this external id the new name."""
    async with database.transaction() as connection:
        user, changed = await users.upsert(connection, tenant_id, external_id, name)
        if changed:
            await outbox.append(connection, [events.user_upserted(user)])
    crash_point("user.stored")
    return user
