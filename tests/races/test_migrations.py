"""A rollout runs old and new code at once: migrations only add, and the old code's statements go on meanwhile."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from common.db import Database
from common.migrate import upgrade
from common.provision import as_owner, provision, provision_schema
from garant_local.secrets import SERVICES
from garant_local.settings import ROOT
from support.house import House
from support.servers import Databases

STOPS_THE_WORLD = {("payments", "0003"), ("payments", "0004")}
"""What docs/operations.md tells operators to stop a service for."""
TURNS = 20
"""How often each of the old statements has run before, and runs after the migration."""


@dataclass(frozen=True, slots=True)
class Column:
    type: str
    may_lack: bool
    """Whether old code may insert without it."""
    computed: bool = False


Schema = dict[tuple[str, str], Column]


def revisions(service: str) -> list[str]:
    """Return a service's revisions, the oldest first."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "services" / service / "migrations"))
    config.set_main_option("path_separator", "os")
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def steps() -> Iterator[tuple[str, str, str]]:
    for service in SERVICES:
        known = revisions(service)
        yield from ((service, old, new) for old, new in itertools.pairwise(known))


@asynccontextmanager
async def empty_database(migrated: Databases, service: str) -> AsyncIterator[tuple[str, str]]:
    """Make a database of its own for a service; yield its owner's and its role's URLs."""
    name, owner = f"migrating_{secrets.token_hex(4)}", migrated.owner_url(service)
    url = migrated.postgres.url(name, name, "throw-away")
    await provision(owner, url)
    if service == "payments":
        await provision_schema(owner, migrated.postgres.url(name, f"{name}_signer", "throw-away"), "signer")
    try:
        yield as_owner(owner, url), url
    finally:
        server = await asyncpg.connect(owner, timeout=5)
        await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await server.close()


async def migrate(service: str, owner_url: str, revision: str) -> None:
    await asyncio.to_thread(upgrade, ROOT / "services" / service / "migrations", owner_url, revision)


async def read_schema(owner_url: str) -> Schema:
    connection = await asyncpg.connect(owner_url, timeout=5)
    try:
        rows = await connection.fetch(
            "SELECT c.table_name, c.column_name, c.udt_name,"
            " c.is_nullable = 'YES' OR c.column_default IS NOT NULL OR c.is_identity = 'YES'"
            "   OR c.is_generated = 'ALWAYS' AS may_lack, c.is_generated = 'ALWAYS' AS computed"
            " FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)"
            " WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.table_name <> 'alembic_version'"
        )
    finally:
        await connection.close()
    return {(r[0], r[1]): Column(r[2], r[3], r[4]) for r in rows}


def refused(old: Schema, new: Schema) -> list[str]:
    """Return what old code could not live with."""
    tables = {table for table, _ in old}
    return [
        *(f"{t}.{c} is gone" for t, c in old if (t, c) not in new),
        *(f"{t}.{c} changes its type" for (t, c), k in old.items() if (t, c) in new and new[t, c].type != k.type),
        *(
            f"{t}.{c} is wanted"
            for (t, c), k in new.items()
            if t in tables and (t, c) not in old and not k.may_lack
        ),
        *(
            f"{t}.{c} is wanted now"
            for (t, c), k in old.items()
            if k.may_lack and (t, c) in new and not new[t, c].may_lack
        ),
    ]


def test_what_old_code_cannot_live_with_is_refused() -> None:
    old = {("deal", "id"): Column("int8", True), ("deal", "title"): Column("text", True)}
    assert refused(old, {**old, ("deal", "note"): Column("text", True), ("new", "x"): Column("text", False)}) == []
    assert refused(old, {("deal", "id"): Column("int8", True)}) == ["deal.title is gone"]
    assert refused(old, {**old, ("deal", "id"): Column("uuid", True)}) == ["deal.id changes its type"]
    assert refused(old, {**old, ("deal", "note"): Column("text", False)}) == ["deal.note is wanted"]
    assert refused(old, {**old, ("deal", "title"): Column("text", False)}) == ["deal.title is wanted now"]


@pytest.mark.parametrize(("service", "old", "new"), list(steps()))
async def test_a_migration_only_adds(migrated: Databases, service: str, old: str, new: str) -> None:
    async with empty_database(migrated, service) as (owner_url, _):
        await migrate(service, owner_url, old)
        before = await read_schema(owner_url)
        await migrate(service, owner_url, new)
        wrong = refused(before, await read_schema(owner_url))

    assert bool(wrong) == ((service, new) in STOPS_THE_WORLD), wrong


async def copy_rows(source_url: str, target_url: str, schema: Schema) -> int:
    """Copy what the older schema has room for; return how many rows."""
    source, target = await asyncpg.connect(source_url, timeout=5), await asyncpg.connect(target_url, timeout=5)
    count = 0
    try:
        await target.execute("SET session_replication_role = replica")
        for table in {table for table, _ in schema}:
            columns = [column for (t, column), kind in schema.items() if t == table and not kind.computed]
            names = ", ".join(f'"{column}"' for column in columns)
            rows = await source.fetch(f'SELECT {names} FROM "{table}"')
            marks = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
            await target.executemany(
                f'INSERT INTO "{table}" ({names}) OVERRIDING SYSTEM VALUE VALUES ({marks}) ON CONFLICT DO NOTHING',
                [tuple(row) for row in rows],
            )
            count += len(rows)
    finally:
        await source.close()
        await target.close()
    return count


@pytest.mark.parametrize("service", SERVICES)
async def test_old_statements_go_on_while_a_database_with_data_is_migrated(house: House, service: str) -> None:
    alice, bob = await house.user(1, "Alice"), await house.user(2, "Bob")
    for _ in range(5):
        await house.deal(alice, bob)
    *_, old, new = revisions(service)
    async with empty_database(house.databases, service) as (owner_url, url):
        await migrate(service, owner_url, old)
        schema = await read_schema(owner_url)
        copied = await copy_rows(house.databases.owner_url(service), owner_url, schema)
        assert copied > 5 or service in ("payments", "chat")
        before, after = dict[str, int](), dict[str, int]()
        warm, migrating = asyncio.Event(), asyncio.Event()
        database = Database(url, "old-code", 4)

        async def run_old_code(table: str) -> None:
            """Read and lock rows inside transactions, on connections that keep what they prepared."""
            names = ", ".join(f't."{column}"' for t, column in sorted(schema) if t == table)
            statement = sa.text(f'SELECT {names} FROM "{table}" t LIMIT 10 FOR NO KEY UPDATE SKIP LOCKED')
            while after.get(table, 0) < TURNS:
                async with database.transaction() as connection:
                    await connection.execute(statement)
                    await connection.execute(statement)
                counts = after if migrating.is_set() else before
                counts[table] = counts.get(table, 0) + 1
                if len(before) == len(readable) and min(before.values()) >= TURNS:
                    warm.set()

        async def roll_out() -> None:
            await warm.wait()
            await migrate(service, owner_url, new)
            migrating.set()

        readable = await lockable(url, {table for table, _ in schema})
        try:
            async with asyncio.timeout(40), asyncio.TaskGroup() as group:
                for table in readable:
                    group.create_task(run_old_code(table))
                group.create_task(roll_out())
        finally:
            await database.close()
    assert len(readable) >= 4
    assert min(after.values()) >= TURNS


async def lockable(url: str, tables: set[str]) -> set[str]:
    """Return the tables whose rows the service may lock, which wants the right to update."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        query = "SELECT has_table_privilege(current_user, quote_ident($1), 'UPDATE')"
        return {table for table in tables if await connection.fetchval(query, table)}
    finally:
        await connection.close()
