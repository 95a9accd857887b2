"""PostgreSQL: one pool per process, with a limit on everything that could wait for ever.

Statements are SQLAlchemy's (`sa.text`, with `:names`); asyncpg carries them without SQLAlchemy's engine between,
which cost more than PostgreSQL itself (ADR 0011).
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import asyncpg.pool
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from common.errors import Unavailable

STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_MS = 15_000
TRANSACTION_TIMEOUT_MS = 30_000
"""No transaction of a service lasts longer: what happened before that is settled."""
COMMAND_S = 15.0
CONNECT_S = 5.0
CLOSE_S = 2.0
STATEMENTS_PREPARED = 500

SERVER_SETTINGS = {
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
    "transaction_timeout": str(TRANSACTION_TIMEOUT_MS),
    "timezone": "UTC",
}
"""A stopped process otherwise keeps its locks (ADR 0003)."""

FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What the driver raises when the database is away. A commit that ends so has an unknown outcome."""

MISTAKES = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.SyntaxOrAccessError,
)
"""What PostgreSQL says of a statement of ours that is wrong: a bug, never a reason to try again."""

CONTENDED = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)
"""What PostgreSQL says when somebody else holds what a statement needs: perhaps one item of a batch."""


def away(error: Exception) -> bool:
    """Tell whether an error says that the database is away, not that a statement or a rule of ours is wrong."""
    return isinstance(error, FAILURES) and not isinstance(error, MISTAKES)


UniqueViolation = asyncpg.UniqueViolationError
"""A value that must be there once is there already; its text names the constraint."""

Row = asyncpg.Record
"""A row: by name, by place, or unpacked."""
Values = Mapping[str, Any]
_NONE: Values = {}


@functools.lru_cache(maxsize=STATEMENTS_PREPARED)
def _compiled(statement: sa.TextClause) -> tuple[str, tuple[str, ...]]:
    """Return a statement with places instead of names, and the names in the order of their places."""
    compiled = statement.compile(dialect=dialect())  # type: ignore[no-untyped-call]
    return str(compiled), tuple(compiled.positiontup or ())


class Connection:
    """A connection, mostly inside a transaction; rules pass it on to `db/` and never use it themselves."""

    __slots__ = ("_driver",)

    def __init__(self, driver: "asyncpg.pool.PoolConnectionProxy[Row]") -> None:
        self._driver = driver

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what happens inside, and nothing else, when it ends with an error."""
        async with self._driver.transaction():
            yield

    async def execute(self, statement: sa.TextClause, values: Values = _NONE) -> list[Row]:
        """Execute and return all rows."""
        text, names = _compiled(statement)
        return await self._driver.fetch(text, *[values[name] for name in names])

    async def first(self, statement: sa.TextClause, values: Values = _NONE) -> Row | None:
        """Execute and return the first row, if there is one."""
        rows = await self.execute(statement, values)
        return rows[0] if rows else None

    async def one(self, statement: sa.TextClause, values: Values = _NONE) -> Row:
        """Execute and return the only row."""
        (row,) = await self.execute(statement, values)
        return row

    async def value(self, statement: sa.TextClause, values: Values = _NONE) -> Any:
        """Execute and return the only column of the only row."""
        (value,) = await self.one(statement, values)
        return value

    async def count(self, statement: sa.TextClause, values: Values = _NONE) -> int:
        """Execute and return how many rows were changed."""
        text, names = _compiled(statement)
        said = await self._driver.execute(text, *[values[name] for name in names])
        return int(said.rpartition(" ")[2])


async def _reset(_: "asyncpg.Connection[Row]") -> None:
    """Spare the round trip that forgets settings: we set none, and the pool has rolled back what was left open."""


class Database:
    """The pool, with transactions that end in a commit or in nothing.

    Args:
        url: `postgresql://user:password@host:port/name`.
        application: the name PostgreSQL shows for our connections.
        pool_size: the most connections at a time.
    """

    def __init__(self, url: str, application: str, pool_size: int = 10) -> None:
        self.url = url
        self._application = application
        self._pool_size = pool_size
        self._pool: asyncpg.Pool[Row] | None = None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Row]"]:
        if self._pool is None:  # it belongs to the loop that runs now
            self._pool = asyncpg.create_pool(
                self.url,
                min_size=0,
                max_size=self._pool_size,
                max_inactive_connection_lifetime=0,
                reset=_reset,
                timeout=CONNECT_S,
                command_timeout=COMMAND_S,
                statement_cache_size=STATEMENTS_PREPARED,
                max_cached_statement_lifetime=0,
                server_settings=SERVER_SETTINGS | {"application_name": self._application},
            )
        await self._pool  # without a least size this connects to nothing, and is done at once
        async with self._pool.acquire(timeout=CONNECT_S) as driver:
            yield driver

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Open a READ COMMITTED transaction; it is committed when the block ends without an error."""
        async with self._connection() as driver, driver.transaction():
            yield Connection(driver)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Open a connection without a transaction: each statement sees its own moment, and commits by itself."""
        async with self._connection() as driver:
            yield Connection(driver)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """Open a read-only transaction in which every statement sees the same moment.

        It may last as long as there is history to read; each of its statements is limited all the same.
        """
        async with (
            self._connection() as driver,
            driver.transaction(isolation="repeatable_read", readonly=True),
        ):
            await driver.execute("SET LOCAL transaction_timeout = 0")
            yield Connection(driver)

    @property
    def in_use(self) -> int:
        """Tell how many connections are in somebody's hands."""
        return 0 if self._pool is None else self._pool.get_size() - self._pool.get_idle_size()

    async def ping(self) -> None:
        """Ask for one row.

        Raises:
            Unavailable: when PostgreSQL does not answer.
        """
        try:
            async with self._connection() as driver:
                await driver.fetchval("SELECT 1")
        except FAILURES as error:
            raise Unavailable("the database does not answer") from error

    async def close(self) -> None:
        """Close all connections; those that are still at work are cut off in the end."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), CLOSE_S)
            except TimeoutError:
                pool.terminate()
