"""Tenants and API keys in PostgreSQL; of a key only its hash is stored."""

import sqlalchemy as sa

from common.auth import Principal
from common.db import Connection

_CREATE_TENANT = sa.text(
    """
    INSERT INTO tenant (name) VALUES (:name)
    ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id
    """
)
_TENANT = sa.text("SELECT id FROM tenant WHERE id = :id")
_CREATE_KEY = sa.text(
    """
    INSERT INTO api_key (tenant_id, key_hash, scopes) VALUES (:tenant_id, :key_hash, :scopes)
    RETURNING id
    """
)
_STORE_KEY = sa.text(
    """
    INSERT INTO api_key (tenant_id, key_hash, scopes) VALUES (:tenant_id, :key_hash, :scopes)
    ON CONFLICT (key_hash) DO NOTHING
    """
)
_FIND = sa.text("SELECT tenant_id, id, scopes FROM api_key WHERE key_hash = :key_hash AND revoked_at IS NULL")
_REVOKE = sa.text(
    """
    UPDATE api_key SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL RETURNING tenant_id
    """
)


async def create_tenant(connection: Connection, name: str) -> int:
    """Return the id of the tenant with this name, a new one where there is none."""
    return int(await connection.value(_CREATE_TENANT, {"name": name}))


async def tenant_exists(connection: Connection, tenant_id: int) -> bool:
    """Tell whether there is such a tenant."""
    return (await connection.first(_TENANT, {"id": tenant_id})) is not None


async def create_key(connection: Connection, tenant_id: int, key_hash: str, scopes: list[str]) -> int:
    """Store a key's hash and return the key's id."""
    values = {"tenant_id": tenant_id, "key_hash": key_hash, "scopes": scopes}
    return int(await connection.value(_CREATE_KEY, values))


async def store_key(connection: Connection, tenant_id: int, key_hash: str, scopes: list[str]) -> bool:
    """Store a key's hash unless it is known, revoked or not; tell whether it was new."""
    values = {"tenant_id": tenant_id, "key_hash": key_hash, "scopes": scopes}
    return await connection.count(_STORE_KEY, values) == 1


async def find_key(connection: Connection, key_hash: str) -> Principal | None:
    """Return whom a key stands for, unless it is unknown or revoked."""
    row = await connection.first(_FIND, {"key_hash": key_hash})
    return None if row is None else Principal(row[0], row[1], frozenset(row[2]))


async def revoke_key(connection: Connection, key_id: int) -> int | None:
    """Revoke a key and return its tenant, or None when there is no such live key."""
    row = await connection.first(_REVOKE, {"id": key_id})
    return None if row is None else int(row[0])
