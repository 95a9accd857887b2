"""Show our books to the services that compare theirs with them."""

from collections.abc import Sequence

from accounts.db import listing
from accounts.db.listing import Rows
from common.db import Database

PAGE = 500


async def list_outside(database: Database, after: int) -> Rows:
    """Return a page of what was applied between the ledger and the outside, above an operation's id."""
    async with database.transaction() as connection:
        return await listing.outside(connection, after, PAGE)


async def list_outcomes(database: Database, keys: Sequence[str]) -> Rows:
    """Return the stored outcomes under these keys."""
    async with database.transaction() as connection:
        return await listing.outcomes(connection, keys)


async def list_held(database: Database, after: int) -> Rows:
    """Return a page of deals' accounts that hold something, above an account's id."""
    async with database.transaction() as connection:
        return await listing.held(connection, after, PAGE)
