"""The transitions of deals as their chats tell them, on real PostgreSQL and NATS."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import nats as nats_client
import orjson
import pytest

from chat.adapters.wire import NatsLive
from chat.consumers.deals import SUBJECTS
from chat.db import messages, system_events
from chat.domain.model import Chat, Standing
from chat.use_cases.check_invariants import check_invariants
from chat.use_cases.note_transitions import note_transitions
from common.bus import Bus, Received
from common.clock import SystemClock
from deals.use_cases.pass_deadlines import pass_deadlines
from support.chatting import ChatHouse
from support.contracts import EVENTS
from support.house import USDT, House, received
from support.servers import nats_server
from support.sources import Broker
from support.waiting import eventually
from support.wires import At

ABOUT = {"title": "Late", "description": "Never delivered"}


@pytest.fixture
async def live(nats: Broker) -> AsyncIterator[NatsLive]:
    bus = await Bus.connect(nats.url, "chat-test")
    yield NatsLive(bus)
    await bus.close()


async def told(house: House) -> list[Received]:
    return [received(envelope) for envelope in await house.outbox("deals")]


async def said(house: ChatHouse, chat_id: str) -> list[tuple[int, str, str]]:
    async with house.database.reading() as connection:
        events = await system_events.history(connection, UUID(chat_id), 0, 100)
    return [(event.seq, event.type, event.status) for event in events]


async def standing(house: ChatHouse, chat_id: str) -> Standing:
    async with house.database.reading() as connection:
        found = await messages.find_chat(connection, UUID(chat_id))
    assert found is not None
    return found.standing


async def live_through(house: House, customer: int, performer: int) -> dict[str, list[tuple[str, str]]]:
    """Live through every transition there is; return what each chat has to tell, by its id."""
    expected: dict[str, list[tuple[str, str]]] = {}

    async def deal(steps: str, *after: tuple[str, str], **more: Any) -> int:
        created = await house.deal(customer, performer, 10, **more)
        for step in steps.split():
            if step == "dispute":
                await house.call("deals", "POST", f"/deal/{created['deal_id']}/dispute", ABOUT)
            else:
                await house.act(created["deal_id"], step, key="arbiter")
        expected[created["chat_id"]] = [("deal.created", "created"), *after]
        return int(created["deal_id"])

    held, waits = ("deal.confirmed", "confirm_performer"), ("deal.waiting_for_payment", "waiting_for_payment")
    opened = ("dispute.opened", "dispute")
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    late = replace(house.money, clock=At(datetime.now(UTC) + timedelta(hours=2)))
    await deal("deny", ("deal.denied", "deny_performer"))
    await deal("confirm cancel", waits, ("deal.cancelled", "cancelled"))
    await deal("confirm", waits, ("deal.expired", "expired"), deadline_at=soon)
    await house.credit(customer, 40 * USDT, "tron:a:0")
    await deal("confirm close", held, ("deal.closed", "close"))
    await deal("confirm dispute dispute/close_performer", held, opened, ("dispute.closed", "arb_close_performer"))
    await deal("confirm dispute dispute/close_customer", held, opened, ("dispute.closed", "arb_close_customer"))
    await deal("confirm", held, ("deal.overdue", "confirm_performer"), deadline_at=soon)

    await pass_deadlines(late)

    assert {envelope["type"] for envelope in await house.outbox("deals")} == set(SUBJECTS)
    return expected


def test_every_transition_that_deals_tells_is_followed() -> None:
    assert set(SUBJECTS) == {subject for subject in EVENTS if subject.startswith(("deal.", "dispute."))}


async def test_every_transition_is_said_once_and_in_order_however_often_it_comes(
    chat_house: ChatHouse, live: NatsLive
) -> None:
    house = chat_house.house
    expected = await live_through(house, await house.user(1), await house.user(2))
    events = await told(house)

    await note_transitions(chat_house.database, live, [events[0], events[0], *events[1:7]])
    await note_transitions(chat_house.database, live, events)
    for event in events:
        await note_transitions(chat_house.database, live, [event])

    for chat_id, after in expected.items():
        assert await said(chat_house, chat_id) == [(n, *one) for n, one in enumerate(after, 1)]
        stands = await standing(chat_house, chat_id)
        assert (stands.status, stands.version) == (after[-1][1], len(after))
        assert (stands.ended_at is None) == (stands.status == "confirm_performer")
    found = await check_invariants(chat_house.database, SystemClock(), [])
    assert found["violations"]["system_seq_without_gaps"] == []


async def test_what_comes_late_is_said_and_takes_nothing_back(chat_house: ChatHouse, live: NatsLive) -> None:
    house = chat_house.house
    await house.credit(await house.user(1), 10 * USDT, "tron:a:0")
    deal = await house.deal(await house.user(1), await house.user(2), 10)
    for step in ("confirm", "close"):
        await house.act(deal["deal_id"], step)
    created, confirmed, closed = await told(house)

    for event in (closed, created, confirmed):
        await note_transitions(chat_house.database, live, [event])

    assert [one[1] for one in await said(chat_house, deal["chat_id"])] == [
        "deal.closed", "deal.created", "deal.confirmed"
    ]  # fmt: skip
    assert await standing(chat_house, deal["chat_id"]) == Standing("close", closed.occurred_at, 3)


async def test_an_event_whose_note_was_lost_is_said_once(chat_house: ChatHouse, live: NatsLive) -> None:
    house = chat_house.house
    deal = await house.deal(await house.user(1), await house.user(2), 10)
    (created,) = await told(house)
    await note_transitions(chat_house.database, live, [created])
    await house.execute("chat", "DELETE FROM inbox")

    await note_transitions(chat_house.database, live, [created])

    assert await said(chat_house, deal["chat_id"]) == [(1, "deal.created", "created")]


async def test_many_consumers_at_once_number_each_chat_without_a_gap(
    chat_house: ChatHouse, live: NatsLive
) -> None:
    house = chat_house.house
    await live_through(house, await house.user(1), await house.user(2))
    events = await told(house)
    shuffled = [some for seed in range(3) for some in random.Random(seed).sample(events, len(events))]

    await asyncio.gather(*(note_transitions(chat_house.database, live, [event]) for event in shuffled))
    await asyncio.gather(*(note_transitions(chat_house.database, live, shuffled) for _ in range(3)))

    found = await check_invariants(chat_house.database, SystemClock(), [])
    assert found["violations"]["system_seq_without_gaps"] == []
    assert sum([len(await said(chat_house, c)) for c in {str(e.data["chat_id"]) for e in events}]) == len(events)


async def test_a_gap_among_system_events_is_a_violation(chat_house: ChatHouse, live: NatsLive) -> None:
    house = chat_house.house
    deal = await house.deal(await house.user(1), await house.user(2), 10)
    await note_transitions(chat_house.database, live, await told(house))
    await house.execute("chat", "DELETE FROM system_event")

    found = await check_invariants(chat_house.database, SystemClock(), [])

    assert not found["ok"]
    (violation,) = found["violations"]["system_seq_without_gaps"]
    assert violation == {"chat_id": deal["chat_id"], "last_system_seq": 1, "events": 0, "top": 0}


async def test_those_in_the_room_hear_of_it_over_nats(chat_house: ChatHouse, live: NatsLive, nats: Broker) -> None:
    house = chat_house.house
    deal = await house.deal(await house.user(1), await house.user(2), 10)
    await house.act(deal["deal_id"], "deny")
    events, heard = await told(house), list[Any]()
    client = await nats_client.connect(nats.url)
    try:

        async def hear(message: Any) -> None:
            heard.append(orjson.loads(message.data))

        await client.subscribe(f"chat.room.{deal['chat_id']}", cb=hear)
        await client.flush()
        for _ in range(2):
            await note_transitions(chat_house.database, live, events)

        async def all_heard() -> int:
            return len(heard)

        await eventually(all_heard, lambda count: count >= 1)
    finally:
        await client.close()
    assert heard == [
        {
            "kind": "system",
            "bodies": [
                {
                    "seq": seq,
                    "type": event.type,
                    "status": event.data["status"],
                    "created_at": event.occurred_at.isoformat(),
                }
                for seq, event in enumerate(events, 1)
            ],
        }
    ]


async def test_a_transition_is_noted_while_the_broker_is_away(chat_house: ChatHouse) -> None:
    house = chat_house.house
    deal = await house.deal(await house.user(1), await house.user(2), 10)
    with nats_server() as broken:
        bus = await Bus.connect(broken.url, "chat-test")
    try:

        async def connected() -> bool:
            return bus.connected

        await eventually(connected, lambda found: not found)
        await note_transitions(chat_house.database, NatsLive(bus), await told(house))
    finally:
        await bus.close()

    assert await said(chat_house, deal["chat_id"]) == [(1, "deal.created", "created")]


async def test_an_event_without_what_is_needed_is_an_error_and_leaves_nothing(
    chat_house: ChatHouse, live: NatsLive
) -> None:
    house = chat_house.house
    await house.deal(await house.user(1), await house.user(2), 10)
    (created,) = await told(house)
    chat_id = str(uuid4())
    broken = replace(created, id=uuid4(), data={**created.data, "chat_id": chat_id} | {"customer_id": None})

    with pytest.raises(TypeError):
        await note_transitions(chat_house.database, live, [created, broken])

    async with chat_house.database.reading() as connection:
        found: list[Chat | None] = [
            await messages.find_chat(connection, UUID(c)) for c in (chat_id, created.data["chat_id"])
        ]
    assert found == [None, None]
