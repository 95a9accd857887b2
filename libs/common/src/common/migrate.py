"""Migrations: one alembic history per service, applied by one process at a time."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from common.provision import as_owner, provision, provision_schema

NOTHING: Mapping[str, str | None] = {}
LOCK_TIMEOUT_MS = 3_000
"""What waits for a table's lock makes everybody after it wait: a migration gives up, and is tried again."""
_LOCK = 7_205_759_403_792_794


def upgrade(migrations: Path, url: str, revision: str = "head") -> None:
    """Bring the database at `url` to a revision in the folder `migrations`; to the newest by default."""
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    command.upgrade(config, revision)


def migrate_database(
    migrations: Path, service_url: str, owner_url: str | None, schemas: Mapping[str, str | None] = NOTHING
) -> None:
    """Bring a service's database to the newest revision.

    Args:
        migrations: the folder of its revisions.
        service_url: the URL by which the service connects.
        owner_url: who makes its role and its database where they are missing, and owns the tables; None where
            `service_url` is the owner's itself.
        schemas: schemas with a role of their own, each with the URL by which that role connects.
    """
    if owner_url is not None:
        asyncio.run(provision(owner_url, service_url))
        for schema, role_url in schemas.items():
            if role_url is not None:
                asyncio.run(provision_schema(owner_url, role_url, schema))
    upgrade(migrations, service_url if owner_url is None else as_owner(owner_url, service_url))


def run() -> None:
    """Run what alembic asks for; each service's `migrations/env.py` calls this."""
    asyncio.run(_run(context.config.attributes["url"]))


async def _run(url: str) -> None:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        await connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'"))
        await connection.run_sync(_migrate)
    await engine.dispose()


def _migrate(connection: sa.Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()


OUTBOX_AND_INBOX = """
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    subject text NOT NULL,
    envelope jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
CREATE TABLE inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
"""
"""The first revision of each service begins with these two tables."""


RETRIES_AND_DEAD_LETTERS = """
-- The key of a call that must not be done twice, and its answer once that is final (common.idempotency).
CREATE TABLE idempotency_key (
    tenant_id bigint NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,
    status smallint,
    answer text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key),
    CHECK ((status IS NULL) = (answer IS NULL))
);
CREATE INDEX idempotency_key_created ON idempotency_key USING brin (created_at);
-- Events that a consumer could not handle (common.dead_letters).
CREATE TABLE dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer text NOT NULL,
    digest text NOT NULL,
    subject text NOT NULL,
    payload bytea NOT NULL,
    error text NOT NULL,
    tries integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    replay_at timestamptz,
    resolved_at timestamptz,
    UNIQUE (consumer, digest)
);
CREATE INDEX dead_letter_open ON dead_letter (id) WHERE resolved_at IS NULL;
CREATE INDEX outbox_created ON outbox USING brin (created_at);
CREATE INDEX inbox_received ON inbox USING brin (received_at);
"""
"""What the second revision of each service adds."""


def statements(script: str) -> list[str]:
    """Split a script at each semicolon that ends a line: the driver prepares one statement at a time.

    A body in dollar quotes keeps its own semicolons.
    """
    found: list[str] = []
    lines: list[str] = []
    for line in script.splitlines():
        lines.append(line)
        if line.rstrip().endswith(";") and "\n".join(lines).count("$$") % 2 == 0:
            found.append("\n".join(lines).strip())
            lines = []
    assert not "".join(lines).strip(), "the script must end with a semicolon"
    return found
