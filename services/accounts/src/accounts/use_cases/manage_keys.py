"""Create and close tenants, create and revoke API keys, and tell whom a key stands for."""

from collections.abc import Sequence
from dataclasses import dataclass

from accounts.db import keys, ledger
from accounts.domain import events
from accounts.domain.errors import KeyUnknown, TenantUnknown
from accounts.domain.ledger import HOUSE_TENANT
from common import outbox
from common.auth import Principal, hash_key, new_key
from common.db import Database
from common.errors import InvalidInput

SCOPES = ("default", "arbiter", "withdraw", "approve")


async def create_tenant(database: Database, name: str) -> int:
    """Return the id of the tenant with this name, a new one where there is none.

    Raises:
        InvalidInput: when the tenant with this name was closed.
    """
    async with database.transaction() as connection:
        tenant_id, is_open = await keys.create_tenant(connection, name)
    if not is_open:
        raise InvalidInput(f"the tenant {name} ({tenant_id}) was closed; choose another name")
    return tenant_id


@dataclass(frozen=True, slots=True)
class TenantClosed:
    """What closing a tenant did."""

    was_open: bool
    revoked_key_ids: Sequence[int]


async def close_tenant(database: Database, tenant_id: int) -> TenantClosed:
    """Close a tenant for good: its keys are revoked everywhere, no new one is made, and its money stays.

    Raises:
        TenantUnknown: when there is none with this id; the house itself is no marketplace.
    """
    if tenant_id == HOUSE_TENANT:
        raise TenantUnknown(f"{tenant_id} is no tenant but the house itself")
    async with database.transaction() as connection:
        was_open = await keys.close_tenant(connection, tenant_id)
        if not was_open and await keys.tenant_is_open(connection, tenant_id) is None:
            raise TenantUnknown(f"there is no tenant {tenant_id}")
        revoked = await keys.revoke_all(connection, tenant_id)
        now = await ledger.now(connection)
        await outbox.append(connection, [events.api_key_revoked(tenant_id, key_id, now) for key_id in revoked])
    return TenantClosed(was_open, revoked)


async def create_key(database: Database, tenant_id: int, scopes: Sequence[str]) -> tuple[int, str]:
    """Create a key; return its id and the key itself, which can't be shown again.

    Raises:
        InvalidInput: when the tenant does not exist or was closed, or a scope is unknown.
    """
    _check_scopes(scopes)
    key = new_key()
    async with database.transaction() as connection:
        is_open = await keys.tenant_is_open(connection, tenant_id)
        if is_open is None:
            raise InvalidInput(f"there is no tenant {tenant_id}; create-tenant makes one")
        if not is_open:
            raise InvalidInput(f"the tenant {tenant_id} was closed")
        key_id = await keys.create_key(connection, tenant_id, hash_key(key), sorted(set(scopes)))
    return key_id, key


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key that an operator made and keeps: `tenant` is the tenant's name."""

    tenant: str
    scopes: Sequence[str]
    key: str


async def bootstrap(database: Database, wanted: Sequence[Wanted]) -> int:
    """Make each key's tenant and store the key, where they are missing; return how many keys were new.

    A key that was revoked stays so, and a tenant that is closed gets none.

    Raises:
        InvalidInput: when a scope is unknown.
    """
    async with database.transaction() as connection:
        new = 0
        for one in wanted:
            _check_scopes(one.scopes)
            tenant_id, is_open = await keys.create_tenant(connection, one.tenant)
            if is_open:
                new += await keys.store_key(connection, tenant_id, hash_key(one.key), sorted(set(one.scopes)))
    return new


def _check_scopes(scopes: Sequence[str]) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InvalidInput(f"the scopes are {', '.join(SCOPES)}; not {', '.join(unknown)}")


async def revoke_key(database: Database, key_id: int) -> None:
    """Revoke a key everywhere.

    Raises:
        KeyUnknown: when there is no such live key.
    """
    async with database.transaction() as connection:
        tenant_id = await keys.revoke_key(connection, key_id)
        if tenant_id is None:
            raise KeyUnknown(f"there is no live key {key_id}")
        now = await ledger.now(connection)
        await outbox.append(connection, [events.api_key_revoked(tenant_id, key_id, now)])


async def find_ended(
    database: Database, key_ids: Sequence[int], tenant_ids: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return those of the keys that are not live, and those of the tenants that are not open."""
    async with database.reading() as connection:
        return await keys.revoked(connection, key_ids), await keys.closed(connection, tenant_ids)


class LocalKeys:
    """Looks keys up in our own database (`common.auth.KeyVerifier`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def verify(self, key_hash: str) -> Principal | None:
        """Return whom the key stands for, or None."""
        async with self._database.reading() as connection:
            return await keys.find_key(connection, key_hash)
