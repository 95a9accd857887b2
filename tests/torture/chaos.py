"""Carries out a plan against a running system, and wakes everything in the end."""

import asyncio
import collections
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from support.system import System
from torture.plan import BACKENDS, KILL, Blow

_TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM (
        SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
         ORDER BY random() LIMIT $1) chosen
"""


@dataclass(slots=True)
class Chaos:
    """What was done: (victim, kind) → how often; `absent` is a victim that was not there at that moment."""

    system: System
    done: "collections.Counter[tuple[str, str]]" = field(default_factory=collections.Counter)

    async def carry_out(self, blows: Sequence[Blow]) -> None:
        """Strike at the planned moments; sleepers are woken when their time has come, and all of them at the end."""
        begun = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as sleeps:
            for blow in blows:
                await asyncio.sleep(max(0.0, begun + blow.at_s - asyncio.get_running_loop().time()))
                self.done[blow.victim, await self._strike(blow, sleeps)] += 1

    async def _strike(self, blow: Blow, sleeps: asyncio.TaskGroup) -> str:
        pid = self.system.find(blow.victim)
        if pid is None:
            return "absent"
        if blow.kind == KILL:
            os.kill(pid, signal.SIGKILL)
        elif blow.kind == BACKENDS:
            sleeps.create_task(self._terminate(blow.count))
        else:
            sleeps.create_task(self._sleep(pid, blow.pause_s))
        return blow.kind

    async def _terminate(self, count: int) -> None:
        """End connections, unless PostgreSQL is away now."""
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            url = self.system.environment["ACCOUNTS_DATABASE_URL"]
            connection = await asyncpg.connect(url, timeout=2, command_timeout=2)
            try:
                self.done["postgres", "backend"] += await connection.fetchval(_TERMINATE, count)
            finally:
                await connection.close(timeout=1)

    async def _sleep(self, pid: int, pause_s: float) -> None:
        handles = [handle for handle in map(_handle, (pid, *_children(pid))) if handle is not None]
        try:
            for handle in handles:
                _signal(handle, signal.SIGSTOP)
            await asyncio.sleep(pause_s)
        finally:
            for handle in handles:
                _signal(handle, signal.SIGCONT)
                os.close(handle)


def _handle(pid: int) -> int | None:
    """Return a handle, which never comes to mean another process as a process id may."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _signal(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _children(pid: int) -> list[int]:
    """Return the children of a process: PostgreSQL's backends, which a stopped postmaster does not stop."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
