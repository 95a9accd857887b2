"""PostgreSQL: one engine per process, with a limit on everything that could wait for ever."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from common.errors import Unavailable

STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_MS = 15_000
TRANSACTION_TIMEOUT_MS = 30_000
"""No transaction of a service lasts longer: what happened before that is settled."""

SERVER_SETTINGS = {
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
    "transaction_timeout": str(TRANSACTION_TIMEOUT_MS),
    "timezone": "UTC",
}
"""A stopped process otherwise keeps its locks (ADR 0003)."""

FAILURES = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.InternalError,
    sqlalchemy.exc.TimeoutError,
    sqlalchemy.exc.DBAPIError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What the driver raises when the database is away. A commit that ends so has an unknown outcome."""

Connection = AsyncConnection
"""A connection inside a transaction; rules pass it on to `db/` and never use it themselves."""

MISTAKES = (
    sqlalchemy.exc.IntegrityError,
    sqlalchemy.exc.DataError,
    sqlalchemy.exc.ProgrammingError,
)
"""What PostgreSQL says of a statement of ours that is wrong: a bug, never a reason to try again."""


def _replace_closed(connection: Any, _: Any, __: Any) -> None:
    """Replace a connection that the server has closed before anything is asked of it.

    The driver knows as soon as the socket tells, so this costs no round trip; SQLAlchemy's own ping costs three.
    """
    if connection.driver_connection.is_closed():
        raise sqlalchemy.exc.DisconnectionError("the server closed the connection")


class Database:
    """The engine, with transactions that end in a commit or in nothing.

    Args:
        url: `postgresql://user:password@host:port/name`.
        application: the name PostgreSQL shows for our connections.
        pool_size: the most connections at a time.
    """

    def __init__(self, url: str, application: str, pool_size: int = 10) -> None:
        self.url = url
        self.engine: AsyncEngine = create_async_engine(
            url.replace("postgresql://", "postgresql+asyncpg://", 1),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=5,
            connect_args={
                "timeout": 5,
                "command_timeout": 15,
                "server_settings": SERVER_SETTINGS | {"application_name": application},
            },
        )
        sa.event.listen(self.engine.sync_engine, "checkout", _replace_closed)
        self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a READ COMMITTED transaction; it is committed when the block ends without an error."""
        async with self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for reads that need no transaction: each statement sees its own moment."""
        async with self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Open a read-only transaction in which every statement sees the same moment.

        It may last as long as there is history to read; each of its statements is limited all the same.
        """
        async with self.engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                await connection.exec_driver_sql("SET LOCAL transaction_timeout = 0")
                yield connection

    async def ping(self) -> None:
        """Ask for one row.

        Raises:
            Unavailable: when PostgreSQL does not answer.
        """
        try:
            async with self.engine.connect() as connection:
                await connection.exec_driver_sql("SELECT 1")
        except FAILURES as error:
            raise Unavailable("the database does not answer") from error

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
