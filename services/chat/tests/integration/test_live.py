"""What happens at one chat server is heard live at another one, on both paths.

The look at the database that heals what nobody told, and the beats that make the servers tell each other anew, are
held back: whatever is heard here came over the wire.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chat.adapters.wire import NatsLive, NatsWire
from chat.api.app import Options
from chat.use_cases.note_transitions import note_transitions
from common.bus import Bus
from support.chatting import ChatHouse, build_chat, in_room, there, told, until_told
from support.house import House, received
from support.sources import Broker

Apart = tuple[ChatHouse, ChatHouse]


@pytest.fixture(params=[True, False], ids=["lean", "upstream"])
async def apart(
    request: pytest.FixtureRequest, house: House, nats: Broker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Apart]:
    """Two chat servers of one house."""

    async def nothing(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(NatsWire, "beat", nothing)
    options = Options(lean=request.param)
    async with (
        build_chat(house, nats.url, options=options) as here,
        build_chat(house, nats.url, options=options) as there_,
    ):
        for one in (here, there_):
            monkeypatch.setattr(one.side.rooms, "_states", nothing)
        yield here, there_


async def test_what_the_system_says_is_heard_from_a_worker(apart: Apart, nats: Broker) -> None:
    here, _ = apart
    chat_id, _, _, deal_id = await here.chat()
    _, heard = await told(here, chat_id, "system")
    await in_room(here, chat_id, 1)
    await here.house.act(deal_id, "deny")
    created, denied = [received(envelope) for envelope in await here.house.outbox("deals")]
    bus = await Bus.connect(nats.url, "chat-test")
    try:
        for event in (created, denied):
            await note_transitions(here.database, NatsLive(bus), [event])
    finally:
        await bus.close()

    expected = [
        {"seq": 1, "type": "deal.created", "status": "created", "created_at": created.occurred_at.isoformat()},
        {
            "seq": 2,
            "type": "deal.denied",
            "status": "deny_performer",
            "created_at": denied.occurred_at.isoformat(),
        },
    ]
    assert await until_told(heard, expected[-1]) == expected


async def test_how_far_a_party_has_read_is_heard_from_another_server(apart: Apart) -> None:
    here, elsewhere = apart
    chat_id, alice, bob, deal_id = await here.chat()
    writer, heard = await told(here, await here.token(deal_id, alice), "read")
    reader = await elsewhere.listen(await elsewhere.token(deal_id, bob))
    await in_room(here, chat_id, 1)
    await in_room(elsewhere, chat_id, 1)
    for text in ("one", "two"):
        await writer.say(alice, text)

    for seq in (1, 2):
        assert await reader.client.call("read", {"seq": seq}, timeout=10) == {"read": True}

    expected = [{"role": "performer", "last_read_seq": seq} for seq in (1, 2)]
    assert await until_told(heard, expected[-1]) == expected


async def test_who_comes_to_another_server_and_goes_is_seen(apart: Apart) -> None:
    here, elsewhere = apart
    chat_id, alice, bob, deal_id = await here.chat()
    _, seen = await told(here, await here.token(deal_id, bob), "presence")
    await in_room(here, chat_id, 1)

    coming, shown = await told(elsewhere, await elsewhere.token(deal_id, alice), "presence")
    both = there("customer", "performer")
    assert await until_told(seen, both)
    assert await until_told(shown, both)  # who comes is told who is at the other server

    await coming.client.disconnect()
    assert await until_told(seen, there("performer"))
