"""Roles and databases are made by jobs that may be started twice, at the same moment."""

import asyncio
import secrets

import asyncpg

from common.provision import provision, provision_schema
from support.servers import Databases


async def test_several_jobs_at_once_make_the_same_role_and_database(migrated: Databases) -> None:
    name, owner = f"provisioned_{secrets.token_hex(4)}", migrated.owner_url("accounts")
    url, signer = (migrated.postgres.url(name, role, "a-password") for role in (name, f"{name}_signer"))
    try:
        for _ in range(3):  # the first makes them, the others find them there
            await asyncio.gather(*(provision(owner, url) for _ in range(4)))
            await asyncio.gather(*(provision_schema(owner, signer, "signer") for _ in range(4)))
        for made in (url, signer):
            await (await asyncpg.connect(made, timeout=5)).close()
    finally:
        server = await asyncpg.connect(owner, timeout=5)
        await server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await server.execute(f'DROP ROLE IF EXISTS "{name}", "{name}_signer"')
        await server.close()
