"""The wire between processes: who is followed is heard, and who was silent too long is taken for gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import pytest

from chat.adapters import wire as wires
from chat.adapters.wire import PROCESSES, ROOM, NatsWire
from common.broadcasts import Broadcasts
from common.ids import new_uuid
from support.chatting import ChatHouse
from support.sources import Broker
from support.waiting import eventually


@dataclass(slots=True)
class Ends:
    """A wire, what it called, and another process's connection."""

    wire: NatsWire
    ours: Broadcasts
    other: Broadcasts
    heard: list[tuple[UUID, str, Any]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    announced: list[None] = field(default_factory=list)


@asynccontextmanager
async def two_ends(url: str) -> AsyncIterator[Ends]:
    async with AsyncExitStack() as stack:
        ours, other = await Broadcasts.connect(url, "test"), await Broadcasts.connect(url, "test")
        for one in (ours, other):
            stack.push_async_callback(one.close)
            stack.callback(asyncio.create_task(one.run()).cancel)
        ends = Ends(NatsWire(ours, new_uuid().hex), ours, other)
        await ends.wire.start(
            lambda *told: ends.heard.append(told), lambda: ends.announced.append(None), ends.lost.append
        )
        await ours.flush(2)
        yield ends


async def test_a_chat_that_was_left_while_it_was_followed_is_followed_again(
    nats: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_id, asked, go_on = new_uuid(), asyncio.Event(), asyncio.Event()
    async with two_ends(nats.url) as ends:
        flush = ends.ours.flush

        async def slow(timeout_s: float) -> None:
            asked.set()
            await go_on.wait()
            await flush(timeout_s)

        monkeypatch.setattr(ends.ours, "flush", slow)
        following = asyncio.create_task(ends.wire.follow(chat_id))
        await asked.wait()
        ends.wire.unfollow(chat_id)
        go_on.set()
        await following

        await ends.wire.follow(chat_id)
        ends.other.tell(f"{ROOM}{chat_id}", orjson.dumps({"kind": "message", "bodies": [{"seq": 1}]}))

        async def heard() -> list[Any]:
            return ends.heard

        assert await eventually(heard, within_s=3) == [(chat_id, "message", [{"seq": 1}])]


async def test_who_is_heard_again_after_a_long_silence_is_lost_first(
    nats: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "LOST_AFTER_S", 0.2)
    async with two_ends(nats.url) as ends:

        async def announced() -> int:
            return len(ends.announced)

        assert ends.other.tell(PROCESSES, b"other")
        assert await eventually(announced, within_s=3) == 1
        await asyncio.sleep(0.3)  # it is silent for longer than it may be
        assert ends.other.tell(PROCESSES, b"other")
        assert await eventually(announced, lambda times: times > 1, within_s=3) == 2
        assert ends.lost == ["other"]


async def test_rooms_that_were_left_while_the_wire_was_broken_are_announced_too(
    chat_house: ChatHouse, nats: Broker
) -> None:
    chat_id, alice, _, deal_id = await chat_house.chat()
    leaving = await chat_house.listen(await chat_house.token(deal_id, alice))

    async def inside() -> bool:
        room = chat_house.side.rooms.find(UUID(chat_id))
        return room is not None and bool(room.links)

    await eventually(inside)
    async with two_ends(nats.url) as ends:

        async def told() -> list[Any]:
            return [body["roles"] for _, kind, bodies in ends.heard if kind == "presence" for body in bodies]

        await ends.wire.follow(UUID(chat_id))
        await leaving.client.disconnect()
        await eventually(told, lambda roles: roles[-1:] == [[]])
        ends.heard.clear()

        chat_house.side.rooms.announce()  # as once it is whole again

        assert await eventually(told, within_s=3) == [[]]
