"""Connections to a PostgreSQL that closes them."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import sqlalchemy as sa

from common.db import Database
from support.servers import Databases
from support.waiting import eventually


@pytest.fixture
async def database(migrated: Databases) -> AsyncIterator[Database]:
    found = Database(migrated.url("accounts"), "closed-test", 3)
    yield found
    await found.close()


async def _close_all(migrated: Databases) -> None:
    """Let the server end the connections of the test, as its restart does, and wait until it has."""
    owner = await asyncpg.connect(migrated.owner_url("accounts"), timeout=5)
    try:
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'closed-test'"
        )

        async def left() -> int:
            count: int = await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closed-test'"
            )
            return count

        await eventually(left, lambda count: count == 0)
    finally:
        await owner.close()


async def test_a_connection_that_the_server_closed_is_replaced_before_a_transaction(
    migrated: Databases, database: Database
) -> None:
    await database.ping()
    await _close_all(migrated)
    async with database.transaction() as connection:
        answer = await connection.value(sa.text("SELECT 1"))
    assert answer == 1


async def test_a_connection_that_the_server_closed_is_replaced_before_a_read(
    migrated: Databases, database: Database
) -> None:
    async with database.reading() as connection:
        await connection.execute(sa.text("SELECT 1"))
    await _close_all(migrated)
    async with database.reading() as connection:
        answer = await connection.value(sa.text("SELECT 1"))
    assert answer == 1


async def test_a_connection_that_is_given_back_costs_no_round_trip(
    migrated: Databases, database: Database
) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.text("SELECT 1"))
    owner = await asyncpg.connect(migrated.owner_url("accounts"), timeout=5)
    try:
        last = await owner.fetch("SELECT query FROM pg_stat_activity WHERE application_name = 'closed-test'")
    finally:
        await owner.close()

    assert [row[0] for row in last] == ["COMMIT;"]
