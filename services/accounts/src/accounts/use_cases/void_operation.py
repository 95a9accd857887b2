"""Void a key: what has no outcome yet will never have another than `voided`."""

from accounts.db import ledger
from accounts.domain.ledger import Result
from common.crash import crash_point
from common.db import Database


async def void_operation(database: Database, key: str) -> Result:
    """Leave a tombstone where there is no outcome yet, and return the key's final outcome."""
    async with database.transaction() as connection:
        stored = await ledger.void(connection, key)
    crash_point("void.committed")
    return Result(key, stored.outcome, stored.reason)
