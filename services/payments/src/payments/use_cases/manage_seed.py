"""Make the seed once, and read it."""

from collections.abc import Callable

from common.db import Database
from payments.db import seed as rows
from payments.domain.model import StoredSeed


async def read_seed(database: Database) -> StoredSeed | None:
    """Return the stored seed, or None."""
    async with database.transaction() as connection:
        return await rows.read(connection)


async def create_seed(
    database: Database, make: Callable[[], tuple[StoredSeed, str]]
) -> tuple[StoredSeed, str | None]:
    """Store a new seed unless there is one; return the stored one, and the words of a new one."""
    made, words = make()
    async with database.transaction() as connection:
        fresh = await rows.insert(connection, made)
        stored = await rows.read(connection)
    assert stored is not None
    return stored, words if fresh else None
