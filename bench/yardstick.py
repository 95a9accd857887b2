"""The yardstick: pgbench's TPC-B on the same PostgreSQL server, in a database of its own."""

import asyncio
import re
import subprocess

import asyncpg

from garant_local.postgres import BINARIES
from support.servers import Databases

CLIENTS = 8
SCALE = 20
"""More branches than clients, so that they seldom wait for one another."""
DATABASE = "yardstick"


def prepare(databases: Databases) -> None:
    """Create pgbench's tables."""
    asyncio.run(_create(databases))
    _pgbench(databases, "-i", "-q", "-s", str(SCALE))


async def _create(databases: Databases) -> None:
    connection = await asyncpg.connect(databases.postgres.url("postgres"), timeout=5)
    try:
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()


def transactions_per_second(databases: Databases, seconds: int) -> float:
    """Run TPC-B as pgbench does it by default; return transactions a second, connecting not counted."""
    said = _pgbench(databases, "-n", "-c", str(CLIENTS), "-j", "2", "-T", str(seconds))
    found = re.search(r"^tps = ([0-9.]+)", said, re.MULTILINE)
    assert found is not None, said
    return float(found[1])


def _pgbench(databases: Databases, *arguments: str) -> str:
    done = subprocess.run(
        [BINARIES / "bin" / "pgbench", *arguments, databases.postgres.url(DATABASE)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"pgbench failed: {done.stderr[-2000:]}")
    return done.stdout
