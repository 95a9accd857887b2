"""`python -m chat api` and `worker`, apart: each does its own part and no other."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest

from chat.db import messages
from chat.domain.model import Chat, Draft, Role, Standing
from chat.use_cases.store_messages import Writer
from common.bus import Bus
from common.clock import SystemClock
from common.db import Database
from common.outbox import Message
from support.chatting import PUBLIC_KEY, listen
from support.contracts import EVENTS
from support.servers import Databases
from support.service import service
from support.sources import Broker
from support.waiting import eventually

CHAT = Chat(uuid4(), 7, 1, 1, 2, Standing("confirmed", None, 3))


@contextmanager
def process(mode: str, databases: Databases, nats: Broker, log: Path) -> Iterator[str]:
    """Run a mode; yield its URL. Neither accounts nor deals is there."""
    more = {"CHAT_TOKEN_PUBLIC_KEY": PUBLIC_KEY, "CHAT_ACCEPT_PLAIN_CHAT_ID": "true"}
    with service("chat", mode, databases, nats, log, **more) as (url, _):
        yield url


@pytest.fixture
async def bus(nats: Broker, migrated: Databases) -> Any:
    """The broker with an empty stream of deals, and clean databases."""
    await migrated.clean()
    found = await Bus.connect(nats.url, "test")
    await found.declare_stream("DEALS", ("deal.*", "dispute.*"))
    await found._stream.purge_stream("DEALS")
    yield found
    for consumer in await found._stream.consumers_info("DEALS"):
        await found._stream.delete_consumer("DEALS", consumer.name)
    await found.close()


async def value(databases: Databases, query: str) -> Any:
    connection = await asyncpg.connect(databases.owner_url("chat"), timeout=5)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def keep(databases: Databases) -> None:
    """Keep a chat with a message that nobody has told of."""
    database = Database(databases.url("chat"), "test", 2)
    try:
        async with database.transaction() as connection:
            await messages.keep_chat(connection, CHAT)
        writer = Writer(database, SystemClock(), lambda _: None)
        await writer.submit(Draft(CHAT, 1, Role.CUSTOMER, "hello"))
    finally:
        await database.close()


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


@pytest.mark.timeout(120)
async def test_an_api_serves_and_a_worker_works(
    migrated: Databases, nats: Broker, bus: Bus, tmp_path: Path
) -> None:
    await keep(migrated)
    created = EVENTS["deal.created"]["example"]
    await bus.publish([Message(subject="deal.created", payload=json.dumps(created).encode(), id=created["id"])])
    waiting = "SELECT count(*) FROM untold"
    published = "SELECT count(*) FROM outbox WHERE published_at IS NOT NULL"
    noted = "SELECT count(*) FROM system_event"

    with process("api", migrated, nats, tmp_path / "api.log") as api:
        assert await status(f"{api}/api/v1/chat/{CHAT.id}/messages") == 401
        listener = await listen(api, str(CHAT.id))
        assert await listener.until(1) == [1]
        assert (await listener.say(2, "hi"))["seq"] == 2
        assert (await value(migrated, waiting), await value(migrated, noted)) == (1, 0)

        with process("worker", migrated, nats, tmp_path / "worker.log") as worker:
            assert await status(f"{worker}/api/v1/chat/{CHAT.id}/messages") == 404
            assert await status(f"{worker}/socket.io/?EIO=4&transport=polling") == 404
            await eventually(lambda: value(migrated, published), lambda count: count == 1)
            assert await value(migrated, waiting) == 0
            await eventually(lambda: value(migrated, noted), lambda count: count == 1)
            assert await value(migrated, "SELECT chat_id FROM system_event") == UUID(created["data"]["chat_id"])
        await listener.client.disconnect()
