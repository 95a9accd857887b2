"""Makes the role and the database that a service's URL names; safe to be run again, and by several at once.

Tables belong to the owner, who migrates. The role may read and write rows, and migrations take back what it must
not do (the ledger is append-only).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import asyncpg

TIMEOUT_S = 10
_LOCK = 7_205_759_403_792_795


def as_owner(owner_url: str, service_url: str) -> str:
    """Return the URL by which the owner connects to a service's database."""
    return urlsplit(owner_url)._replace(path=urlsplit(service_url).path).geturl()


async def provision(owner_url: str, service_url: str) -> None:
    """Create the service's role and database where they are missing, and set the role's password."""
    name = urlsplit(service_url).path.lstrip("/")
    async with _alone(owner_url) as server:
        role = await _make_role(server, service_url)
        if not await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await server.execute(f'CREATE DATABASE "{name}"')
        await server.execute(
            f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC; GRANT CONNECT ON DATABASE "{name}" TO "{role}"'
        )
        await _execute(
            as_owner(owner_url, service_url),
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public"
            f' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{role}";'
            f'ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO "{role}"',
        )


async def provision_schema(owner_url: str, role_url: str, schema: str) -> None:
    """Create a role that may read and write the rows of one schema of a database, and remove none."""
    async with _alone(as_owner(owner_url, role_url)) as connection:
        role, name = await _make_role(connection, role_url), urlsplit(role_url).path.lstrip("/")
        await connection.execute(
            f'GRANT CONNECT ON DATABASE "{name}" TO "{role}";'
            f'CREATE SCHEMA IF NOT EXISTS "{schema}"; GRANT USAGE ON SCHEMA "{schema}" TO "{role}";'
            f'ALTER DEFAULT PRIVILEGES IN SCHEMA "{schema}" GRANT SELECT, INSERT, UPDATE ON TABLES TO "{role}"'
        )


@asynccontextmanager
async def _alone(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Connect, and let nobody else provision meanwhile: of two at once PostgreSQL refuses one, or its new role."""
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        yield connection
    finally:
        await connection.close()


async def _make_role(connection: "asyncpg.Connection[asyncpg.Record]", url: str) -> str:
    parts = urlsplit(url)
    role, password = unquote(parts.username or ""), unquote(parts.password or "")
    known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    quoted = await connection.fetchval("SELECT quote_literal($1::text)", password)
    await connection.execute(f'{"ALTER" if known else "CREATE"} ROLE "{role}" LOGIN PASSWORD {quoted}')
    return role


async def _execute(url: str, script: str) -> None:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        await connection.execute(script)
    finally:
        await connection.close()
