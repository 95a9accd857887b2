"""Of several processes one does the work: the one whose session in PostgreSQL holds an advisory lock.

Correctness never rests on it: what is elected is safe to be done by two at once, which happens when a process was
stopped and another took over. It spares the others' calls, and tells an alarm once.
"""

import asyncio
import zlib
from collections.abc import Sequence

import asyncpg

from common.db import SERVER_SETTINGS
from common.logging import get_logger, report
from common.metrics import forget_elected
from common.runner import Work

log = get_logger()

ASK_EVERY_S = 1.0
PROVE_EVERY_S = 3.0
IDLE_SESSION_MS = 10_000
"""PostgreSQL ends the session, and with it the lock, of a process that was silent for so long: it was stopped."""
MOST_PAUSE_S = 5.0


class Elected:
    """Runs work while this process is the one that is chosen.

    Args:
        url: the service's database.
        name: what is elected; of one name one process works at a time.
        work: what runs until it is cancelled.
    """

    def __init__(self, url: str, name: str, work: Sequence[Work]) -> None:
        self._url = url
        self._name = name
        self._work = work

    async def run(self) -> None:
        """Ask for the lock, and work while it is held, until cancelled; every failure is retried with a pause."""
        pause_s = 0.5
        while True:
            try:
                await self._work_while_chosen()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                log.warning("election.lost", name=self._name, error=repr(error), retry_in_s=pause_s)
                report(error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, MOST_PAUSE_S)

    async def _work_while_chosen(self) -> None:
        settings = SERVER_SETTINGS | {"application_name": self._name, "idle_session_timeout": str(IDLE_SESSION_MS)}
        connection = await asyncpg.connect(self._url, timeout=5, command_timeout=5, server_settings=settings)
        try:
            lock = zlib.crc32(f"elected:{self._name}".encode())
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):  # noqa: ASYNC110 -- the lock is held by another process, not by a task
                await asyncio.sleep(ASK_EVERY_S)
            log.info("election.won", name=self._name)
            await self._work_until_lost(connection)
        finally:
            await asyncio.shield(connection.close(timeout=2))

    async def _work_until_lost(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        tasks = [asyncio.ensure_future(work()) for work in self._work]
        proving = asyncio.ensure_future(_prove(connection))
        try:
            done, _ = await asyncio.wait({proving, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise RuntimeError(f"elected work ended: {self._name}")
        finally:
            for task in (proving, *tasks):
                task.cancel()
            await asyncio.gather(proving, *tasks, return_exceptions=True)
            forget_elected()


async def _prove(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    while True:
        await asyncio.sleep(PROVE_EVERY_S)
        await connection.execute("SELECT")
