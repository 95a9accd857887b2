"""Tenants and API keys in PostgreSQL; of a key only its hash is stored."""

from collections.abc import Sequence

import sqlalchemy as sa

from common.auth import Principal
from common.db import Connection

_CREATE_TENANT = sa.text(
    """
    INSERT INTO tenant (name) VALUES (:name)
    ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id, closed_at IS NULL AS open
    """
)
# Shared, so that a tenant is not closed while a key of it is made.
_TENANT_OPEN = sa.text("SELECT closed_at IS NULL FROM tenant WHERE id = :id FOR SHARE")
_CLOSE_TENANT = sa.text(
    """
    UPDATE tenant SET closed_at = now() WHERE id = :id AND closed_at IS NULL
    """
)
_REVOKE_ALL = sa.text(
    "UPDATE api_key SET revoked_at = now() WHERE tenant_id = :tenant_id AND revoked_at IS NULL RETURNING id"
)
# What is not there counts as ended: nobody stands behind it.
_REVOKED = sa.text(
    """
    SELECT w.id FROM unnest(CAST(:ids AS bigint[])) AS w (id)
     WHERE NOT EXISTS (SELECT FROM api_key k WHERE k.id = w.id AND k.revoked_at IS NULL)
    """
)
_CLOSED = sa.text(
    """
    SELECT w.id FROM unnest(CAST(:ids AS bigint[])) AS w (id)
     WHERE NOT EXISTS (SELECT FROM tenant t WHERE t.id = w.id AND t.closed_at IS NULL)
    """
)
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


async def create_tenant(connection: Connection, name: str) -> tuple[int, bool]:
    """Return the id of the tenant with this name, a new one where there is none, and whether it is open."""
    tenant_id, is_open = await connection.one(_CREATE_TENANT, {"name": name})
    return int(tenant_id), bool(is_open)


async def tenant_is_open(connection: Connection, tenant_id: int) -> bool | None:
    """Tell whether a tenant is open, which it stays until the transaction ends; None when there is none."""
    row = await connection.first(_TENANT_OPEN, {"id": tenant_id})
    return None if row is None else bool(row[0])


async def close_tenant(connection: Connection, tenant_id: int) -> bool:
    """Close a tenant; tell whether it was open."""
    return await connection.count(_CLOSE_TENANT, {"id": tenant_id}) == 1


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


async def revoke_all(connection: Connection, tenant_id: int) -> list[int]:
    """Revoke a tenant's live keys and return them."""
    return sorted(row[0] for row in await connection.execute(_REVOKE_ALL, {"tenant_id": tenant_id}))


async def revoked(connection: Connection, key_ids: Sequence[int]) -> list[int]:
    """Return those of the keys that are not live."""
    return [row[0] for row in await connection.execute(_REVOKED, {"ids": list(key_ids)})]


async def closed(connection: Connection, tenant_ids: Sequence[int]) -> list[int]:
    """Return those of the tenants that are not open."""
    return [row[0] for row in await connection.execute(_CLOSED, {"ids": list(tenant_ids)})]
