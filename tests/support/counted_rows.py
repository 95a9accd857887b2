"""How many rows a service reads of each table, by PostgreSQL's own counters."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg

from common.db import Database
from support.servers import Databases
from support.waiting import eventually

_READ = """
    SELECT relname, (COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables
"""
_OPEN = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"


async def rows_read(databases: Databases, service: str, database: Database) -> dict[str, int]:
    """Return how many rows were ever read of each table; a service's connections tell it as they end."""
    await database.close()
    connection = await asyncpg.connect(databases.owner_url(service), command_timeout=120)
    try:

        async def gone() -> bool:
            return bool(await connection.fetchval(_OPEN, f"{service}-test") == 0)

        await eventually(gone)
        return {row[0]: row[1] for row in await connection.fetch(_READ)}
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def as_if_large(databases: Databases, service: str) -> AsyncIterator[None]:
    """Let no table be read whole because it is small: the counters shall tell what large ones cost."""
    connection = await asyncpg.connect(databases.owner_url(service), command_timeout=120)
    name = await connection.fetchval("SELECT current_database()")
    try:
        await connection.execute(f'ALTER DATABASE "{name}" SET enable_seqscan = off')
        yield
    finally:
        await connection.execute(f'ALTER DATABASE "{name}" RESET enable_seqscan')
        await connection.close()
