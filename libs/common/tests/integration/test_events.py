"""Outbox, relay, stream and consumer on real PostgreSQL and NATS."""

import asyncio
import contextlib
import secrets
import traceback
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import psutil
import pytest
import sqlalchemy as sa
from nats.js.errors import NotFoundError

from common import outbox
from common.bus import Bus, Received
from common.db import Database
from common.errors import Unavailable
from common.events import Event
from common.inbox import note
from common.outbox import Message, NotStored, Relay
from support.servers import Databases, free_port, nats_server
from support.sources import Broker
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
async def bus(nats: Broker) -> AsyncIterator[Bus]:
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


async def unmarked(database: Database) -> int:
    async with database.transaction() as connection:
        return int(await connection.value(sa.text("SELECT count(*) FROM outbox WHERE published_at IS NULL")))


async def append_and_fail(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with database.transaction() as connection:
            await outbox.append(connection, [event(99)])
            raise ZeroDivisionError


async def test_events_arrive_in_order_and_a_rolled_back_fact_is_never_told(
    database: Database, bus: Bus, migrated: Databases
) -> None:
    heard: list[int] = []

    async def handle(events: Sequence[Received]) -> None:
        heard.extend(received.data["number"] for received in events)

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

    async def handle(events: Sequence[Received]) -> None:
        heard.extend(received.data["number"] for received in events)

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

        await eventually(lambda: unmarked(database), lambda count: count == 0)
        assert await stored() == 50


async def messages_of(bus: Bus) -> list[int]:
    """Return the numbers that the stream has, in its order."""
    state = (await bus._stream.stream_info("ACCOUNTS")).state
    stored = [await bus._stream.get_msg("ACCOUNTS", seq) for seq in range(state.first_seq, state.last_seq + 1)]
    return [orjson.loads(m.data or b"")["data"]["number"] for m in stored]


def messages(*numbers: int) -> list[Message]:
    told = [event(number) for number in numbers]
    return [Message(SUBJECT, orjson.dumps(e.envelope()), str(e.id)) for e in told]


async def test_no_message_overtakes_one_that_was_lost_on_the_way(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, lost, late = messages(1, 2, 3)
    send = bus._stream.publish_async

    async def lossy(subject: str, payload: bytes, **options: Any) -> Any:
        if payload == lost.payload:
            return asyncio.get_running_loop().create_future()  # never answered, never sent
        return await send(subject, payload, **options)

    monkeypatch.setattr("common.bus.PUBLISH_TIMEOUT_S", 3)
    monkeypatch.setattr(bus._stream, "publish_async", lossy)
    with pytest.raises(NotStored) as caught:
        await bus.publish([first, lost, late])
    monkeypatch.setattr(bus._stream, "publish_async", send)
    stored_before = await messages_of(bus)
    await bus.publish([lost, late])

    assert (caught.value.stored, stored_before) == (1, [1])
    assert await messages_of(bus) == [1, 2, 3]


async def test_what_the_broker_has_already_is_stored_once_and_the_rest_follows(
    database: Database, bus: Bus, migrated: Databases
) -> None:
    await append(database, *range(10))
    async with database.transaction() as connection:
        rows = await connection.execute(sa.text("SELECT event_id, envelope::text FROM outbox ORDER BY id LIMIT 4"))
    await bus.publish(
        [Message(SUBJECT, row[1].encode(), str(row[0])) for row in rows]
    )  # and the answers were lost

    async with at_work(asyncio.create_task(Relay(migrated.url("accounts"), "test", bus).run())):
        await eventually(lambda: unmarked(database), lambda count: count == 0)

    assert await messages_of(bus) == list(range(10))


async def test_an_event_that_fails_does_not_hold_up_those_that_came_with_it(
    database: Database, bus: Bus, migrated: Databases
) -> None:
    handled: list[int] = []
    together: list[int] = []

    async def handle(events: Sequence[Received]) -> None:
        numbers = [received.data["number"] for received in events]
        if 3 in numbers and handled.count(3) == 0 and len(together) < 3:
            together.append(len(numbers))
            raise ValueError("not with this one")
        handled.extend(numbers)

    await append(database, *range(6))
    async with at_work(asyncio.create_task(Relay(migrated.url("accounts"), "test", bus).run())):
        await eventually(lambda: unmarked(database), lambda count: count == 0)
    async with at_work(asyncio.create_task(bus.consume("ACCOUNTS", "test", [SUBJECT], handle))):

        async def count() -> int:
            return len(handled)

        await eventually(count, lambda n: n == 6)

    assert handled == [0, 1, 2, 4, 5, 3]
    assert together == [6, 1, 1]


async def test_what_fails_since_something_is_away_is_not_tried_apart(
    database: Database, bus: Bus, migrated: Databases
) -> None:
    calls: list[int] = []

    async def handle(events: Sequence[Received]) -> None:
        calls.append(len(events))
        if len(calls) == 1:
            raise Unavailable("the ledger is away")

    await append(database, *range(6))
    async with at_work(asyncio.create_task(Relay(migrated.url("accounts"), "test", bus).run())):
        await eventually(lambda: unmarked(database), lambda count: count == 0)
    async with at_work(asyncio.create_task(bus.consume("ACCOUNTS", "test", [SUBJECT], handle))):

        async def handled() -> int:
            return sum(calls[1:])

        await eventually(handled, lambda count: count == 6)

    assert calls[0] == 6


async def test_a_broker_that_is_stopped_keeps_nobody_waiting_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py waits for its socket once 2 MiB are unsent, and no time-out ends that."""
    monkeypatch.setattr("common.bus.PUBLISH_TIMEOUT_S", 0.3)
    payload = orjson.dumps("x" * 4000)

    def some(number: int) -> list[Message]:
        return [Message(SUBJECT, payload, f"{number}:{place}") for place in range(120)]

    with nats_server() as server:
        (process,) = [p for p in psutil.Process().children(recursive=True) if str(server.port) in _ports(p)]
        found = await Bus.connect(server.url, "test")
        await found.declare_stream("ACCOUNTS", ["user.*"])
        process.suspend()
        try:
            failures = []
            for number in range(40):  # far more than the socket and the client take together
                with pytest.raises(NotStored) as caught:
                    async with asyncio.timeout(5):
                        await found.publish(some(number))
                failures.append(repr(caught.value.__cause__))
        finally:
            process.resume()

        async def publish() -> bool:
            try:
                await found.publish(some(0))
            except NotStored:
                return False
            return True

        assert await eventually(publish, within_s=20)
        await found.close()
    assert any("takes nothing" in failure for failure in failures)


def _ports(process: psutil.Process) -> set[str]:
    with contextlib.suppress(psutil.Error):
        return {str(c.laddr.port) for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    return set()


async def test_a_failing_handler_is_tried_again_until_it_succeeds(
    database: Database, bus: Bus, migrated: Databases
) -> None:
    tries: list[UUID] = []

    async def handle(events: Sequence[Received]) -> None:
        tries.extend(received.id for received in events)
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
            found.append(await note(connection, "test", [told.id, told.id]))
    async with database.transaction() as connection:
        found.append(await note(connection, "another", [told.id]))
    assert found == [{told.id}, set(), set(), {told.id}]


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

    async def handle(_: Sequence[Received]) -> None:
        heard.set()

    async with at_work(asyncio.create_task(bus.consume("LATER", "test", ["later.*"], handle))):
        await asyncio.wait_for(missed.wait(), 10)
        await bus.declare_stream("LATER", ["later.*"])
        late = Event("later.told", "x:1", 1, 1, datetime.now(UTC), {})
        await bus.publish([Message("later.told", orjson.dumps(late.envelope()), str(late.id))])
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


async def test_a_consumer_that_is_told_to_end_finishes_what_it_holds(bus: Bus) -> None:
    begun, done = asyncio.Event(), list[str]()

    async def handle(events: Sequence[Received]) -> None:
        begun.set()
        await asyncio.sleep(0.3)  # it is told to end meanwhile
        done.extend(str(event.id) for event in events)

    await bus.declare_stream("ACCOUNTS", ["user.*"])
    working = asyncio.create_task(bus.consume("ACCOUNTS", "ending", [SUBJECT], handle))
    told = event(1)
    await bus.publish([Message(SUBJECT, orjson.dumps(told.envelope()), str(told.id))])
    await asyncio.wait_for(begun.wait(), 10)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert len(done) == 1

    async def left() -> tuple[int, int]:
        found = await bus._stream.consumer_info("ACCOUNTS", "ending")
        return found.num_ack_pending or 0, found.num_pending or 0

    # The broker answers before it has noted the acknowledgement; an event that was not acknowledged comes after 30 s.
    await eventually(left, lambda found: found == (0, 0))


async def test_a_consumer_that_is_told_to_end_gives_what_was_on_its_way_no_longer_than_its_time(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.bus.FINISH_S", 0.2)
    monkeypatch.setattr("common.bus.ON_ITS_WAY_S", 5.0)
    begun = asyncio.Event()

    async def hang(_: Sequence[Received]) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def asking() -> int:
        found = await bus._stream.consumers_info("ACCOUNTS")
        return sum(one.num_waiting or 0 for one in found)

    working = asyncio.create_task(bus.consume("ACCOUNTS", "hanging", [SUBJECT], hang))
    await eventually(asking, lambda count: count == 1)
    working.cancel()
    told = event(1)
    await bus.publish([Message(SUBJECT, orjson.dumps(told.envelope()), str(told.id))])
    await asyncio.wait_for(begun.wait(), 5)

    done, _ = await asyncio.wait({working}, timeout=5)
    assert done == {working}
    assert working.cancelled()


async def test_a_broker_that_is_not_there_is_named_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.bus.BROKER_WITHIN_S", 0.2)
    address, password = f"127.0.0.1:{free_port()}", secrets.token_hex(12)

    with pytest.raises(Unavailable) as raised:
        await Bus.connect(f"nats://garant:{password}@{address}", "test")

    told = "".join(traceback.format_exception(raised.value))  # what a process that ends so logs and reports
    assert address in told
    assert password not in told
