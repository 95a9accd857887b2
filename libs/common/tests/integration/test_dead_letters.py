"""Dead letters and events told again, on real PostgreSQL and NATS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from common import inbox, metrics, outbox
from common.bus import Bus, Received, replayed
from common.db import Database
from common.dead_letters import DeadLetters
from common.events import Event
from common.gaps import LATE, Followed, close_gaps, compare, outbox_routes
from common.inbox import note as note_events
from common.internal import InternalClient
from common.outbox import Message, Relay
from common.upkeep import Watch, purge
from common.web import create_app
from support.servers import Databases, nats_server
from support.sources import Broker
from support.waiting import eventually

SUBJECT = "user.upserted"
SECRET = "secret-of-consumer-0123"


def event(number: int) -> Event:
    return Event(SUBJECT, f"user:{number}", 1, 1, datetime.now(UTC), {"number": number})


@pytest.fixture
async def producer(migrated: Databases) -> AsyncIterator[Database]:
    await migrated.clean()
    found = Database(migrated.url("accounts"), "producer-test", 5)
    yield found
    await found.close()


@pytest.fixture
async def consumer(migrated: Databases, producer: Database) -> AsyncIterator[Database]:
    found = Database(migrated.url("payments"), "consumer-test", 5)
    yield found
    await found.close()


@pytest.fixture
async def followed(producer: Database) -> AsyncIterator[Followed]:
    app = create_app("producer", "", {})
    app.include_router(outbox_routes("consumer"))
    app.state.database = producer
    app.state.callers = {"consumer": SECRET}
    client = InternalClient("http://producer", SECRET, transport=httpx.ASGITransport(app))
    yield Followed("note", client, [SUBJECT])
    await client.close()


@pytest.fixture
async def bus(nats: Broker) -> AsyncIterator[Bus]:
    found = await Bus.connect(nats.url, "test")
    await found.declare_stream("ACCOUNTS", ["user.*"])
    await found._stream.purge_stream("ACCOUNTS")
    yield found
    await found._stream.delete_stream("ACCOUNTS")
    await found.close()


@contextlib.asynccontextmanager
async def at_work(*works: Any) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def append(database: Database, *events: Event) -> None:
    async with database.transaction() as connection:
        await outbox.append(connection, events)


async def tell_long_ago(database: Database, *events: Event) -> None:
    """Store events that the broker has acknowledged a while ago."""
    await append(database, *events)
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE outbox SET published_at = now() - CAST(:ago AS interval)"), {"ago": LATE * 2}
        )


async def note(database: Database, *events: Event) -> None:
    async with database.transaction() as connection:
        await note_events(connection, "note", [one.id for one in events])


async def refuse(_: Sequence[Received]) -> None:
    raise ValueError("never")


async def test_an_event_that_cannot_be_read_is_set_aside_once_and_the_next_is_handled(
    bus: Bus, producer: Database
) -> None:
    heard: list[int] = []

    async def handle(events: Sequence[Received]) -> None:
        heard.extend(received.data["number"] for received in events)

    letters = DeadLetters(producer)
    async with at_work(bus.consume("ACCOUNTS", "test", [SUBJECT], handle, letters)):
        await bus.publish([Message(SUBJECT, b"{nonsense", "poison")])
        await append(producer, event(7))
        async with producer.transaction() as connection:
            envelope = await connection.value(text("SELECT envelope::text FROM outbox"))
        await bus.publish([Message(SUBJECT, envelope.encode(), "good")])

        async def found() -> list[int]:
            return heard

        await eventually(found)
        (letter,) = await letters.unresolved()

    assert heard == [7]
    assert (letter.consumer, letter.subject, letter.payload) == ("test", SUBJECT, b"{nonsense")
    assert "JSONDecodeError" in letter.error


async def test_an_event_given_up_is_replayed_on_request(bus: Bus, producer: Database) -> None:
    letters, relay = DeadLetters(producer), Relay(producer.url, "test", bus)
    async with at_work(bus.consume("ACCOUNTS", "test", [SUBJECT], refuse, letters, 2), relay.run()):
        await append(producer, event(1))
        (letter,) = await eventually(letters.unresolved)
    assert letter.tries == 2

    heard: list[int] = []

    async def handle(events: Sequence[Received]) -> None:
        heard.extend(received.data["number"] for received in events)

    before = await letters.replay("test", replayed(handle))  # nobody has asked for it
    asked = await letters.ask_replay(letter.id)
    failed = await letters.replay("test", replayed(refuse))
    (again,) = await letters.unresolved()
    await letters.ask_replay(None)
    resolved = await letters.replay("test", replayed(handle))

    assert (before, asked, failed, resolved) == (0, 1, 0, 1)
    assert (again.tries, again.replay_at) == (3, None)
    assert heard == [1]
    assert await letters.unresolved() == []


async def test_a_letter_that_comes_again_is_one_letter(producer: Database) -> None:
    letters = DeadLetters(producer)
    for _ in range(3):
        await letters.bury("test", SUBJECT, b"x", ValueError("never"), 1)

    (letter,) = await letters.unresolved()

    assert letter.tries == 3


async def test_a_letter_that_nothing_will_handle_is_closed_by_hand(producer: Database) -> None:
    letters = DeadLetters(producer)
    await letters.bury("test", SUBJECT, b"x", ValueError("never"), 1)
    (letter,) = await letters.unresolved()

    assert (await letters.discard(letter.id), await letters.discard(letter.id)) == (1, 0)
    assert await letters.unresolved() == []


async def test_money_is_tried_for_ever(bus: Bus, producer: Database) -> None:
    tries: list[int] = []

    async def handle(events: Sequence[Received]) -> None:
        tries.extend(received.data["number"] for received in events)
        raise ValueError("not yet")

    letters, relay = DeadLetters(producer), Relay(producer.url, "test", bus)
    async with at_work(bus.consume("ACCOUNTS", "test", [SUBJECT], handle, letters), relay.run()):
        await append(producer, event(1))

        async def count() -> int:
            return len(tries)

        await eventually(count, lambda n: n >= 3)
    assert await letters.unresolved() == []


async def test_an_event_that_never_arrived_is_told_again_and_one_on_its_way_is_not(
    producer: Database, consumer: Database, followed: Followed
) -> None:
    lost, arrived, fresh = event(1), event(2), event(3)
    await tell_long_ago(producer, lost, arrived)
    await note(consumer, arrived)
    await append(producer, fresh)
    async with producer.transaction() as connection:
        await connection.execute(text("UPDATE outbox SET published_at = now() WHERE published_at IS NULL"))

    told_again = await close_gaps(consumer, [followed])

    async with producer.transaction() as connection:
        waiting = await connection.execute(text("SELECT event_id FROM outbox WHERE published_at IS NULL"))
        assert [row[0] for row in waiting] == [lost.id]
    assert told_again == 1


async def test_what_is_complete_is_not_looked_at_again(
    producer: Database, consumer: Database, followed: Followed
) -> None:
    told = [event(n) for n in range(3)]
    await tell_long_ago(producer, *told)
    await note(consumer, *told)

    await close_gaps(consumer, [followed])

    assert followed.complete_to == 3
    assert await close_gaps(consumer, [followed]) == 0


async def test_outbox_and_inbox_are_compared_both_ways(
    producer: Database, consumer: Database, followed: Followed
) -> None:
    told = [event(n) for n in range(4)]
    await tell_long_ago(producer, *told)
    await note(consumer, *told[1:])
    async with producer.transaction() as connection:
        await connection.execute(text("DELETE FROM outbox WHERE event_id = :id"), {"id": told[3].id})

    found = await compare(consumer, [followed])

    assert found == {
        "event_not_handled": [f"note:{told[0].id}"],
        "event_not_in_outbox": [f"note:{told[3].id}"],
    }


async def test_the_broker_loses_all_it_stored_and_every_event_has_its_effect(
    producer: Database, consumer: Database, followed: Followed
) -> None:
    handled: list[int] = []

    async def handle(events: Sequence[Received]) -> None:
        async with consumer.transaction() as connection:
            new = await note_events(connection, "note", [received.id for received in events])
        handled.extend(received.data["number"] for received in events if received.id in new)

    async def all_handled() -> list[int]:
        return sorted(handled)

    with nats_server() as server:
        bus = await Bus.connect(server.url, "test")
        await bus.declare_stream("ACCOUNTS", ["user.*"])
        relay = Relay(producer.url, "test", bus)
        async with at_work(relay.run()):
            await append(producer, event(1), event(2))
            await eventually(lambda: unpublished(producer), lambda count: count == 0)
            await bus._stream.delete_stream("ACCOUNTS")  # acknowledged, and gone
            async with producer.transaction() as connection:
                await connection.execute(
                    text("UPDATE outbox SET published_at = now() - CAST(:ago AS interval)"), {"ago": LATE * 2}
                )
            async with at_work(bus.consume("ACCOUNTS", "test", [SUBJECT], handle)):
                await append(producer, event(3))  # the relay finds that there is no stream
                await eventually(all_handled, lambda found: found == [3])
                assert await close_gaps(consumer, [followed]) == 2
                await eventually(all_handled, lambda found: found == [1, 2, 3])
        await bus.close()


async def unpublished(database: Database) -> int:
    async with database.transaction() as connection:
        return (await outbox.backlog(connection))[0]


async def test_an_alarm_wants_the_same_wrong_object_twice() -> None:
    answers: list[list[str]] = [["a"], ["b"], ["b", "c"], ["b"], []]
    watch = Watch(lambda: _answer(answers))
    seen = []
    for _ in range(5):
        await watch.look()
        seen.append(metrics.VIOLATIONS.labels("thing")._value.get())
    assert seen == [0, 0, 1, 1, 0]


async def _answer(answers: list[list[str]]) -> dict[str, Any]:
    return {"violations": {"thing": answers.pop(0)}}


async def test_old_events_are_forgotten_and_the_inbox_outlives_the_outbox(producer: Database) -> None:
    old, waiting, new = event(1), event(2), event(3)
    await append(producer, old, waiting, new)
    await note(producer, old, new)
    ages = SimpleNamespace(outbox=timedelta(days=31), inbox=timedelta(days=36))
    async with producer.transaction() as connection:
        await connection.execute(text("UPDATE outbox SET published_at = now() WHERE id <> 2"))
        await connection.execute(
            text("UPDATE outbox SET created_at = now() - CAST(:a AS interval) WHERE id < 3"), {"a": ages.outbox}
        )
        await connection.execute(
            text("UPDATE inbox SET received_at = now() - CAST(:a AS interval)"), {"a": ages.inbox}
        )

    await purge(producer, datetime.now(UTC))

    async with producer.transaction() as connection:
        kept = [row[0] for row in await connection.execute(text("SELECT event_id FROM outbox ORDER BY id"))]
        assert kept == [waiting.id, new.id]
        assert await inbox.missing(connection, "note", [old.id, new.id]) == []
