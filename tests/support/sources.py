"""Where the tests' PostgreSQL and NATS come from: embedded, containers, or servers that run already.

Embedded ones are the default. `pytest --containers` starts containers through testcontainers. Where
`GARANT_TEST_POSTGRES_URL` (an owner's) and `GARANT_TEST_NATS_URL` are set, those are used; databases and roles there
have names of their own, and are removed in the end.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import asyncpg
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from garant_local.secrets import SERVICES
from support.servers import Databases, databases, nats_server, provisioned

POSTGRES_IMAGE, NATS_IMAGE = "postgres:18", "nats:2.12"
POSTGRES_URL, NATS_URL = "GARANT_TEST_POSTGRES_URL", "GARANT_TEST_NATS_URL"


@dataclass(frozen=True, slots=True)
class ServerAt:
    """A PostgreSQL server that somebody else runs."""

    owner_url: str

    def url(self, database: str, role: str | None = None, password: str | None = None) -> str:
        """Return the URL of a database for a role; the owner's by default."""
        parts = urlsplit(self.owner_url)
        host = parts.netloc.rpartition("@")[2]
        who = parts.netloc if role is None else f"{quote(role)}:{quote(password or '')}@{host}"
        return parts._replace(netloc=who, path=f"/{database}").geturl()


@dataclass(frozen=True, slots=True)
class Broker:
    """A NATS server with JetStream."""

    url: str


@contextlib.contextmanager
def postgres_from(*, containers: bool) -> Iterator[Databases]:
    """Yield migrated databases on a server of the chosen source."""
    given = os.environ.get(POSTGRES_URL)
    if containers:
        password = secrets.token_hex(12)
        container = PostgresContainer(POSTGRES_IMAGE, username="garant", password=password, dbname="postgres")
        with container.with_command("postgres -c max_connections=200") as started:
            yield provisioned(ServerAt(started.get_connection_url(driver=None)))
    elif given:
        found = provisioned(ServerAt(given), f"garant_test_{secrets.token_hex(4)}_")
        try:
            yield found
        finally:
            asyncio.run(_remove(found))
    else:
        with databases() as found:
            yield found


@contextlib.contextmanager
def nats_from(*, containers: bool) -> Iterator[Broker]:
    """Yield a NATS server of the chosen source."""
    given = os.environ.get(NATS_URL)
    if containers:
        password = secrets.token_hex(12)
        ready = LogMessageWaitStrategy("Server is ready")
        container = DockerContainer(NATS_IMAGE).with_exposed_ports(4222).waiting_for(ready)
        with container.with_command(f"--jetstream --user garant --pass {password}") as started:
            host, port = started.get_container_host_ip(), started.get_exposed_port(4222)
            yield Broker(f"nats://garant:{password}@{host}:{port}")
    elif given:
        yield Broker(given)
    else:
        with nats_server() as found:
            yield Broker(found.url)


async def _remove(found: Databases) -> None:
    server = await asyncpg.connect(found.postgres.url("postgres"), timeout=5, command_timeout=30)
    try:
        for service in SERVICES:
            await server.execute(f'DROP DATABASE IF EXISTS "{found.prefix}{service}" WITH (FORCE)')
        for role in (*SERVICES, "signer"):
            await server.execute(f'DROP ROLE IF EXISTS "{found.prefix}{role}"')
    finally:
        await server.close()
