"""A chat that ends: what its clients have sent is stored and answered first, and they connect anew by themselves."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import asyncpg
import pytest
import socketio

from common.metrics import REGISTRY
from support.chatting import ChatHouse
from support.packets import Raw, by_hand, message_packet
from support.waiting import eventually


@pytest.fixture
async def raw(either_chat: ChatHouse) -> AsyncIterator[Raw]:
    async with by_hand(either_chat.url) as opened:
        yield opened


async def test_what_was_sent_is_stored_and_answered_before_the_connection_ends(
    either_chat: ChatHouse, raw: Raw
) -> None:
    chat_id, alice, bob, _ = await either_chat.chat()
    sockets = [await raw.websocket() for _ in range(3)]
    polling = await raw.polling()
    for one in sockets:
        await one.join(chat_id)
    await polling.join(chat_id)
    ended = REGISTRY.get_sample_value("garant_chat_ended_total", {"reason": "shutdown"}) or 0.0
    connection = await asyncpg.connect(either_chat.house.databases.owner_url("chat"))
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM chat FOR UPDATE")  # nothing is stored for now
            for one in sockets:
                await one.send(*(message_packet(alice, "x", number) for number in range(20)))
            await polling.post(message_packet(bob, "x", 0))

            async def under_way() -> int:
                return sum(link._under_way for link in either_chat.side.sockets.links)

            await eventually(under_way, lambda count: count == 61)
            closing = asyncio.create_task(either_chat.side.sockets.close(20))
            await asyncio.sleep(0)
            await sockets[0].send(message_packet(alice, "too late: nobody answers", 99))
            polled = asyncio.create_task(polling.until("430["))
        for one in sockets:
            await one.until_ended()
        await polled
        await closing
        assert await connection.fetchval("SELECT count(*) FROM message") == 61
    finally:
        await connection.close()

    for one in sockets:
        numbers = [int(packet[2:].partition("[")[0]) for packet in one.got if packet.startswith("43")]
        assert sorted(numbers) == list(range(20))
        assert all("seq" in packet for packet in one.got if packet.startswith("43"))
        assert [packet for packet in one.got if packet.startswith("41")] == []
    assert REGISTRY.get_sample_value("garant_chat_ended_total", {"reason": "shutdown"}) == ended + 4


async def test_who_is_stored_too_slowly_is_not_waited_for_for_ever(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    sockets = [await raw.websocket() for _ in range(3)]
    for one in sockets:
        await one.join(chat_id)
    connection = await asyncpg.connect(either_chat.house.databases.owner_url("chat"))
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM chat FOR UPDATE")
            for one in sockets:
                await one.send(message_packet(alice, "x", 1))

            async def under_way() -> int:
                return sum(link._under_way for link in either_chat.side.sockets.links)

            await eventually(under_way, lambda count: count == 3)
            await asyncio.wait_for(either_chat.side.sockets.close(0.3), 20)
            for one in sockets:
                await one.until_ended()
    finally:
        await connection.close()

    assert [packet for one in sockets for packet in one.got if packet.startswith("43")] == []


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_a_client_library_connects_anew_by_itself(either_chat: ChatHouse, transports: list[str]) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    connected: list[str] = []

    async def connects() -> int:
        return len(connected)

    async with aiohttp.ClientSession() as session:
        client = socketio.AsyncClient(
            reconnection_delay=0.05, reconnection_delay_max=0.1, handle_sigint=False, http_session=session
        )
        client.on("connect", lambda: connected.append("connected"))
        try:
            await client.connect(either_chat.url, auth={"token": chat_id}, transports=transports, wait_timeout=10)
            await eventually(connects, lambda count: count == 1)

            await either_chat.side.sockets.close(5)

            await eventually(connects, lambda count: count == 2)
            payload = {"user_id": alice, "message": "back"}
            assert (await client.call("message", payload, timeout=10))["seq"] == 1
        finally:
            await client.shutdown()
