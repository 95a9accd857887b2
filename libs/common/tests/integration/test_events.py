"""Outbox, relay, stream and consumer on real PostgreSQL and NATS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
import sqlalchemy as sa
from nats.js.errors import NotFoundError

from common import outbox
from common.bus import Bus, Received
from common.db import Database
from common.events import Event
from common.inbox import first_time
from common.outbox import Relay
from garant_local.nats import Nats
from support.servers import Databases
from support.waiting import eventually

SUBJECT = "user.upserted"


def event(number: int) -> Event:
    return Event(SUBJECT, f"user:{number}", 1, 1, datetime.now(UTC), {"number": number})


@pytest.fixture
async def database(migrated: Databases) -> AsyncIterator[Database]:
    await migrated.clean()
    found = Database(migrated.url("accounts"), "test", 5)
    yield found
    await found.close()


@pytest.fixture
async def bus(nats: Nats) -> AsyncIterator[Bus]:
    found = await Bus.connect(nats.url, "test")
    await found.declare_stream("ACCOUNTS", ["user.*"])
    await found._stream.purge_stream("ACCOUNTS")
    yield found
    for consumer in await found._stream.consumers_info("ACCOUNTS"):
        await found._stream.delete_consumer("ACCOUNTS", consumer.name)
    await found.close()


@contextlib.asynccontextmanager
async def at_work(*tasks: "asyncio.Task[None]") -> AsyncIterator[None]:
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def append(database: Database, *numbers: int) -> None:
    async with database.transaction() as connection:
        await outbox.append(connection, [event(number) for number in numbers])


async def append_and_fail(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with database.transaction() as connection:
            await outbox.append(connection, [event(99)])
            raise ZeroDivisionError


async def test_events_arrive_in_order_and_a_rolled_back_fact_is_never_told(
    database: Database, bus: Bus, migrated: Databases
) -> None:
    heard: list[int] = []

    async def handle(received: Received) -> None:
        heard.append(received.data["number"])

    relay = Relay(migrated.url("accounts"), "test", bus)
    async with at_work(
        asyncio.create_task(relay.run()),
        asyncio.create_task(bus.consume("ACCOUNTS", "test", [SUBJECT], handle)),
    ):
        await append(database, 1, 2, 3)
        await append_and_fail(database)
        await append(database, 4)

        async def all_heard() -> list[int]:
            return heard

        await eventually(all_heard, lambda numbers: len(numbers) >= 4)
    assert heard == [1, 2, 3, 4]


async def test_a_row_committed_late_is_not_skipped(database: Database, bus: Bus, migrated: Databases) -> None:
    heard: list[int] = []

    async def handle(received: Received) -> None:
        heard.append(received.data["number"])

    async def all_heard() -> list[int]:
        return sorted(heard)

    relay = Relay(migrated.url("accounts"), "test", bus)
    async with at_work(
        asyncio.create_task(relay.run()),
        asyncio.create_task(bus.consume("ACCOUNTS", "test", [SUBJECT], handle)),
    ):
        async with database.transaction() as slow:
            await outbox.append(slow, [event(1)])
            await append(database, 2)
            await eventually(all_heard, lambda numbers: numbers == [2])
        await eventually(all_heard, lambda numbers: numbers == [1, 2])


async def test_two_relays_tell_each_event_once(database: Database, bus: Bus, migrated: Databases) -> None:
    relays = [Relay(migrated.url("accounts"), "test", bus) for _ in range(2)]
    async with at_work(*(asyncio.create_task(relay.run()) for relay in relays)):
        await append(database, *range(50))

        async def stored() -> int:
            return int((await bus._stream.stream_info("ACCOUNTS")).state.messages)

        await eventually(stored, lambda count: count >= 50)

        async def unmarked() -> int:
            async with database.transaction() as connection:
                query = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
                return int(await connection.value(sa.text(query)))

        await eventually(unmarked, lambda count: count == 0)
        assert await stored() == 50


async def test_a_failing_handler_is_tried_again_until_it_succeeds(
    database: Database, bus: Bus, migrated: Databases
) -> None:
    tries: list[UUID] = []

    async def handle(received: Received) -> None:
        tries.append(received.id)
        if len(tries) < 3:
            raise ValueError("not yet")

    relay = Relay(migrated.url("accounts"), "test", bus)
    async with at_work(
        asyncio.create_task(relay.run()),
        asyncio.create_task(bus.consume("ACCOUNTS", "test", [SUBJECT], handle)),
    ):
        await append(database, 1)

        async def count() -> int:
            return len(tries)

        await eventually(count, lambda n: n == 3)
    assert len(set(tries)) == 1


async def test_a_redelivered_event_finds_its_note_in_the_inbox(database: Database) -> None:
    told = event(1)
    found = []
    for _ in range(3):
        async with database.transaction() as connection:
            found.append(await first_time(connection, "test", told.id))
    async with database.transaction() as connection:
        found.append(await first_time(connection, "another", told.id))
    assert found == [True, False, False, True]


async def test_a_consumer_waits_for_a_stream_that_is_not_there_yet(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, missed = asyncio.Event(), asyncio.Event()
    add_consumer = bus._stream.add_consumer

    async def watched(*arguments: Any) -> Any:
        try:
            return await add_consumer(*arguments)
        except NotFoundError:
            missed.set()
            raise

    monkeypatch.setattr(bus._stream, "add_consumer", watched)

    async def handle(_: Received) -> None:
        heard.set()

    async with at_work(asyncio.create_task(bus.consume("LATER", "test", ["later.*"], handle))):
        await asyncio.wait_for(missed.wait(), 10)
        await bus.declare_stream("LATER", ["later.*"])
        late = Event("later.told", "x:1", 1, 1, datetime.now(UTC), {})
        await bus.publish("later.told", orjson.dumps(late.envelope()), str(late.id))
        await asyncio.wait_for(heard.wait(), 20)
    await bus._stream.delete_stream("LATER")


async def test_the_relay_survives_a_killed_backend(database: Database, bus: Bus, migrated: Databases) -> None:
    relay = Relay(migrated.url("accounts"), "test", bus)

    async def stored() -> int:
        return int((await bus._stream.stream_info("ACCOUNTS")).state.messages)

    async with at_work(asyncio.create_task(relay.run())):
        await append(database, 1)
        await eventually(stored, lambda count: count == 1)
        owner = await asyncpg.connect(migrated.owner_url("accounts"))
        killed = await owner.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'test-relay'"
        )
        await owner.close()
        assert killed == 1
        await append(database, 2)
        await eventually(stored, lambda count: count == 2)
