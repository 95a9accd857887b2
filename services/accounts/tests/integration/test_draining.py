"""Accounts as a process that is told to end: a call under way is finished and answered, within the time that there is."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx

from support.house import House
from support.servers import Databases
from support.service import service
from support.sources import Broker
from support.waiting import eventually

SHORT_S, LONG_S = 3, 10
"""The least and the most that may be set for DRAIN_S."""
ENDS_WITHIN_S = 10
USER = {"external_id": 1, "name": "somebody"}


def accounts(
    databases: Databases, nats: Broker, log: Path, drain_s: int
) -> AbstractContextManager[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run accounts' API; yield its URL and its process."""
    return service("accounts", "api", databases, nats, log, DRAIN_S=str(drain_s))


@asynccontextmanager
async def locked(databases: Databases) -> AsyncIterator[asyncpg.Connection]:
    """Hold the users' table, so that a call that writes to it waits, until the block ends."""
    connection = await asyncpg.connect(databases.owner_url("accounts"), timeout=5)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE app_user IN EXCLUSIVE MODE")
            yield connection
    finally:
        await connection.close()


def caller(house: House, url: str) -> httpx.AsyncClient:
    """Return a client of the process, with the tenant's key."""
    headers = {"authorization": f"Bearer {house.keys['default']}"}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=20)


async def waiting(connection: asyncpg.Connection) -> int:
    """Return how many sessions wait for a lock of this database."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'app_user'::regclass"
    return int(await connection.fetchval(query))


async def refuses(url: str) -> bool:
    """Tell whether new connections are refused."""
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{url}/healthz")
    except httpx.ConnectError:
        return True
    except httpx.TransportError:  # the listener closed while we were asking
        return False
    return False


async def test_a_call_under_way_is_answered_before_the_process_ends(
    house: House, migrated: Databases, nats: Broker, tmp_path: Path
) -> None:
    with accounts(migrated, nats, tmp_path / "log", LONG_S) as (url, process):
        async with caller(house, url) as client:
            async with locked(migrated) as holder:
                calling = asyncio.create_task(client.post("/api/v1/user", json=USER))
                await eventually(lambda: waiting(holder), lambda count: count == 1)
                process.send_signal(signal.SIGTERM)
                await eventually(lambda: refuses(url), bool, within_s=LONG_S)
                assert not calling.done()
            answer = await calling
        code = await asyncio.to_thread(process.wait, ENDS_WITHIN_S)

    assert (answer.status_code, answer.json()["name"]) == (200, "somebody")
    assert code == 0


async def test_a_call_that_takes_longer_than_the_drain_is_cut_off_and_does_nothing(
    house: House, migrated: Databases, nats: Broker, tmp_path: Path
) -> None:
    with accounts(migrated, nats, tmp_path / "log", SHORT_S) as (url, process):
        async with caller(house, url) as client, locked(migrated) as holder:
            calling = asyncio.create_task(client.post("/api/v1/user", json=USER))
            await eventually(lambda: waiting(holder), lambda count: count == 1)
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, ENDS_WITHIN_S)
            answer = await calling
            await eventually(lambda: waiting(holder), lambda count: count == 0)
            assert await holder.fetchval("SELECT count(*) FROM app_user") == 0

    assert code == 0
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
