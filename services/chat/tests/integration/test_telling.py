"""Telling of stored messages: every one is in an event, and what comes close together is one."""

import asyncio

import pytest

from chat.use_cases import tell_messages as tell_messages_module
from chat.use_cases.check_invariants import check_invariants
from chat.use_cases.tell_messages import tell_messages
from common.clock import SystemClock
from support.chatting import ChatHouse


async def test_what_came_together_is_one_event_without_its_text(chat_house: ChatHouse) -> None:
    chat_id, alice, bob, deal_id = await chat_house.chat()
    listener = await chat_house.listen(chat_id)
    await listener.say(alice, "secret")
    ack = await listener.say(bob, "another")

    assert await tell_messages(chat_house.database) == 1

    (told,) = await chat_house.house.outbox("chat")
    assert (told["type"], told["aggregate_version"]) == ("chat.message", 2)
    assert told["data"] == {
        "chat_id": chat_id,
        "deal_id": deal_id,
        "first_seq": 1,
        "message_id": ack["id"],
        "seq": 2,
        "user_id": bob,
        "role": "performer",
    }
    assert await tell_messages(chat_house.database) == 0


async def test_tellers_beside_writers_tell_each_message_once(chat_house: ChatHouse) -> None:
    chat_id, alice, bob, _ = await chat_house.chat()
    other = (await chat_house.house.deal(alice, bob))["chat_id"]
    writers = [await chat_house.listen(c) for c in (chat_id, other, chat_id)]
    stop = asyncio.Event()

    async def tell() -> None:
        while not stop.is_set():
            await tell_messages(chat_house.database)

    telling = [asyncio.create_task(tell()) for _ in range(3)]
    for _ in range(40):
        await asyncio.gather(*(w.say(alice, "x") for w in writers))
    stop.set()
    await asyncio.gather(*telling)
    await tell_messages(chat_house.database)

    told: dict[str, list[int]] = {chat_id: [], other: []}
    for event in await chat_house.house.outbox("chat"):
        data = event["data"]
        told[data["chat_id"]] += range(data["first_seq"], data["seq"] + 1)
    assert told == {chat_id: list(range(1, 81)), other: list(range(1, 41))}
    found = await check_invariants(chat_house.database, SystemClock(), ())
    assert found["ok"], found


async def test_chats_that_are_busy_keep_no_other_from_being_told(
    chat_house: ChatHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tell_messages_module, "MOST_CHATS", 1)
    one, alice, bob, _ = await chat_house.chat()
    busy, quiet = sorted([one, (await chat_house.house.deal(alice, bob))["chat_id"]])
    listener = await chat_house.listen(busy)
    await (await chat_house.listen(quiet)).say(alice, "x")

    for _ in range(64):
        await listener.say(alice, "x")
        await tell_messages(chat_house.database)

    assert quiet in {event["data"]["chat_id"] for event in await chat_house.house.outbox("chat")}


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        ("DELETE FROM outbox WHERE (envelope->>'aggregate_version')::int = 2", "a gap before it"),
        ("DELETE FROM outbox WHERE (envelope->>'aggregate_version')::int = 3", "the last event is another"),
        ("UPDATE chat SET told_seq = 2", "the last event is another"),
        ("UPDATE chat SET told_seq = 2", "nobody will tell"),
    ],
)
async def test_what_nobody_told_is_found(chat_house: ChatHouse, harm: str, named: str) -> None:
    chat_id, alice, _, _ = await chat_house.chat()
    listener = await chat_house.listen(chat_id)
    for _ in range(3):
        await listener.say(alice, "x")
        await tell_messages(chat_house.database)
    await chat_house.house.execute("chat", harm)

    found = await check_invariants(chat_house.database, SystemClock(), ())

    assert named in [wrong["wrong"] for wrong in found["violations"]["change_not_told"]]
    assert not found["ok"]
