"""The chat as python-socketio's client sees it, on real PostgreSQL."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chat.adapters.tokens import Ed25519Tokens
from chat.api import tracks
from chat.db import messages
from chat.domain.model import Chat, Draft, Message, Role, Standing
from chat.use_cases.note_transitions import note_transitions
from chat.use_cases.store_messages import Writer
from common.auth import hash_key
from common.clock import SystemClock
from support.chatting import PUBLIC_KEY, ChatHouse, Nobody, Refused, build_chat, in_room
from support.house import House, received
from support.sources import Broker


def token(chat_id: str, user_id: int | None, role: str, *, key: bytes = b"\x11", age_s: int = 0) -> str:
    expires = datetime.now(UTC) + timedelta(seconds=60 - age_s)
    claims = {
        "aud": "garant-chat",
        "chat_id": chat_id,
        "user_id": user_id,
        "role": role,
        "exp": int(expires.timestamp()),
    }
    return jwt.encode(claims, Ed25519PrivateKey.from_private_bytes(key * 32), algorithm="EdDSA")


async def test_history_comes_first_then_live_messages_in_one_order(either_chat: ChatHouse) -> None:
    chat_id, alice, bob, _ = await either_chat.chat()
    first = await either_chat.listen(chat_id)
    acks = [await first.say(alice, "hello"), await first.say(bob, "hi")]
    second = await either_chat.listen(chat_id)
    acks.append(await second.say(bob, "still there?"))

    assert await second.until(3) == await first.until(3) == [1, 2, 3]
    assert first.heard == second.heard
    assert [ack["seq"] for ack in acks] == [1, 2, 3]
    message = first.heard[0]
    assert message == {
        "id": acks[0]["id"],
        "seq": 1,
        "user_id": alice,
        "message": "hello",
        "created_at": message["created_at"],
    }
    assert datetime.fromisoformat(message["created_at"]).tzinfo is not None


@pytest.mark.parametrize("transports", [("websocket",), ("polling",), ("polling", "websocket")])
async def test_every_transport_works(either_chat: ChatHouse, transports: tuple[str, ...]) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    listener = await either_chat.listen(chat_id, transports=transports)

    await listener.say(alice, "hello")

    assert await listener.until(1) == [1]


async def test_without_a_token_that_opens_a_chat_it_is_an_authorization_error(
    chat_house: ChatHouse,
) -> None:
    chat_id, alice, bob, _ = await chat_house.chat()
    refused: list[Any] = [
        str(uuid4()),
        "nonsense",
        "",
        None,
        5,
        [chat_id],
        "x" * 10_000,
        token(chat_id, alice, "customer", key=b"\x22"),
        token(chat_id, alice, "customer", age_s=61),
        token(chat_id, bob, "customer"),
        token(chat_id, None, "customer"),
        token(chat_id, alice, "arbiter"),
        token(str(uuid4()), alice, "customer"),
        jwt.encode({"chat_id": chat_id, "role": "arbiter", "user_id": None}, "", algorithm="none"),
    ]
    for wrong in refused:
        with pytest.raises(Refused, match="authorization error"):
            await chat_house.listen(wrong)
    for auth in ({}, {"chat_id": chat_id}, "text", ["list"]):
        with pytest.raises(Refused, match="authorization error"):
            await chat_house.listen(None, auth=auth)


async def test_a_plain_chat_id_opens_nothing_where_it_is_turned_off(house: House, nats: Broker) -> None:
    async with build_chat(house, nats.url, accept_plain=False) as chat_house:
        chat_id, alice, _, deal_id = await chat_house.chat()
        with pytest.raises(Refused, match="authorization error"):
            await chat_house.listen(chat_id)
        listener = await chat_house.listen(await chat_house.token(deal_id, alice))
        assert (await listener.say(alice, "hello"))["seq"] == 1


async def test_a_token_lets_its_user_write_and_nobody_else(chat_house: ChatHouse) -> None:
    _, alice, bob, deal_id = await chat_house.chat()
    await chat_house.dispute(deal_id, alice)
    customer = await chat_house.listen(await chat_house.token(deal_id, alice))
    arbiter = await chat_house.listen(await chat_house.token(deal_id, None, "arbiter"))

    acks = [
        await customer.say(alice, "mine"),
        await customer.say(bob, "not mine"),
        await arbiter.say(alice, "not mine"),
        await arbiter.say(None, "I decide"),
    ]

    assert [ack.get("seq") or ack["error"] for ack in acks] == [1, "not_a_party", "not_a_party", 2]
    assert await customer.until(2) == [1, 2]
    assert (customer.heard[1]["user_id"], customer.heard[1]["role"]) == (None, "arbiter")
    assert "role" not in customer.heard[0]


async def test_an_arbiter_gets_in_while_a_dispute_is_open_and_at_no_other_time(chat_house: ChatHouse) -> None:
    _, alice, _, deal_id = await chat_house.chat()
    arbiter = await chat_house.token(deal_id, None, "arbiter")
    with pytest.raises(Refused, match="authorization error"):
        await chat_house.listen(arbiter)

    await chat_house.dispute(deal_id, alice)  # of which our own copy does not know yet
    inside = await chat_house.listen(arbiter)
    assert (await inside.say(None, "I look into it"))["seq"] == 1

    await chat_house.house.act(deal_id, "dispute/close_customer", key="arbiter")
    for envelope in await chat_house.house.outbox("deals"):
        await note_transitions(chat_house.database, Nobody(), [received(envelope)])
    with pytest.raises(Refused, match="authorization error"):
        await chat_house.listen(arbiter)


async def test_what_deals_says_is_kept_and_events_that_come_later_take_nothing_back(chat_house: ChatHouse) -> None:
    chat_id, alice, _, deal_id = await chat_house.chat()
    await chat_house.dispute(deal_id, alice)
    await chat_house.listen(chat_id)
    for envelope in await chat_house.house.outbox("deals"):
        await note_transitions(chat_house.database, Nobody(), [received(envelope)])
        async with chat_house.database.reading() as connection:
            found = await messages.find_chat(connection, UUID(chat_id))
        assert found is not None
        assert found.standing == Standing("dispute", None, 3)


async def test_while_deals_is_away_its_old_word_lets_parties_in_and_refuses_no_arbiter(
    chat_house: ChatHouse,
) -> None:
    chat_id, alice, _, deal_id = await chat_house.chat()
    await chat_house.listen(chat_id)
    await chat_house.house.execute("chat", "UPDATE chat SET status = NULL, deal_version = 0")
    arbiter = await chat_house.token(deal_id, None, "arbiter")
    chat_house.deals_wire.cut = True

    assert (await (await chat_house.listen(chat_id)).say(alice, "hello"))["seq"] == 1
    with pytest.raises(Refused, match="temporarily unavailable"):
        await chat_house.listen(arbiter)


async def test_a_deal_that_ended_long_ago_is_only_read(chat_house: ChatHouse) -> None:
    chat_id, alice, _, deal_id = await chat_house.chat()
    await chat_house.house.act(deal_id, "deny")
    await chat_house.house.execute("deals", "UPDATE deal SET updated_at = now() - interval '30 days'")

    assert await (await chat_house.listen(chat_id)).say(alice, "hello") == {"error": "read_only"}


async def test_a_token_tells_which_key_asked_for_it(chat_house: ChatHouse) -> None:
    _, alice, _, deal_id = await chat_house.chat()
    claims = Ed25519Tokens(PUBLIC_KEY).read(await chat_house.token(deal_id, alice), datetime.now(UTC))
    older = Ed25519Tokens(PUBLIC_KEY).read(token(str(uuid4()), alice, "customer"), datetime.now(UTC))

    async with chat_house.house.internal("payments") as client:
        body = {"key_hash": hash_key(chat_house.house.keys["default"])}
        key = (await client.post("/internal/v1/keys/verify", json=body)).json()
    assert claims is not None
    assert claims.key_id == key["key_id"]
    assert claims.expires_at is not None
    assert timedelta(minutes=59) < claims.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    assert older is not None
    assert older.key_id is None


async def test_what_does_not_fit_is_ignored_and_the_connection_stays(chat_house: ChatHouse) -> None:
    chat_id, alice, _, _ = await chat_house.chat()
    listener = await chat_house.listen(chat_id)
    long = {"user_id": alice, "message": "x" * 4001}
    wrong: list[Any] = [None, "text", [], {}, {"user_id": alice}, long]
    for payload in wrong:
        await listener.client.emit("message", payload)
    await listener.client.emit("message")
    await listener.client.emit("message", ({"user_id": alice, "message": "two"}, "arguments"))
    await listener.client.emit("typing", {"user_id": alice})

    assert (await listener.say(alice, "hello"))["seq"] == 2
    assert await listener.until(2) == [1, 2]
    assert [m["message"] for m in listener.heard] == ["two", "hello"]


@pytest.mark.parametrize("name", ["connect", "disconnect", "connect_error", "__disconnect_final"])
async def test_reserved_names_reach_no_handler(either_chat: ChatHouse, name: str) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    other = await either_chat.house.deal(alice, await either_chat.house.user(3))
    eve = await either_chat.listen(chat_id)
    victim = await either_chat.listen(other["chat_id"])
    await victim.say(alice, "secret")

    await eve.client.eio.send(f'2["{name}", {{}}, {{"token": "{other["chat_id"]}"}}]')
    acks = [await eve.say(alice, "after") for _ in range(20)]
    await victim.say(alice, "another secret")
    acks.append(await eve.say(alice, "after"))

    assert [ack["seq"] for ack in acks] == await eve.until(21) == list(range(1, 22))
    assert {m["message"] for m in eve.heard} == {"after"}


async def test_a_second_connect_on_one_connection_ends_it(either_chat: ChatHouse) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    other = await either_chat.house.deal(alice, await either_chat.house.user(3))
    listener = await either_chat.listen(chat_id)

    await listener.client.eio.send(f'0{{"token": "{other["chat_id"]}"}}')

    await asyncio.wait_for(listener.closed.wait(), 10)
    assert listener.heard == []


async def test_one_clients_messages_keep_their_order(either_chat: ChatHouse) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    writer, reader = await either_chat.listen(chat_id), await either_chat.listen(chat_id)

    for number in range(300):
        await writer.client.emit("message", {"user_id": alice, "message": str(number)})

    await reader.until(300)
    assert [m["message"] for m in reader.heard] == [str(n) for n in range(300)]
    assert reader.seqs == list(range(1, 301))


@pytest.mark.parametrize("kept", [tracks.MOST_KEPT, 1])
async def test_joining_under_fire_loses_doubles_and_reorders_nothing(
    either_chat: ChatHouse, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "MOST_KEPT", kept)
    chat_id, alice, bob, _ = await either_chat.chat()
    writers = [await either_chat.listen(chat_id) for _ in range(2)]
    stop = asyncio.Event()

    async def write(listener: Any, user: int) -> None:
        while not stop.is_set():
            await listener.say(user, "x")

    writing = [asyncio.create_task(write(w, u)) for w, u in zip(writers, (alice, bob), strict=True)]
    joined = []
    for _ in range(10):
        joined += await asyncio.gather(*(either_chat.listen(chat_id) for _ in range(6)))
    stop.set()
    await asyncio.gather(*writing)
    total = (await writers[0].say(alice, "last"))["seq"]

    for listener in [*joined, *writers]:
        assert await listener.until(total) == list(range(1, total + 1))


async def test_binary_packets_end_the_connection(either_chat: ChatHouse) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    for packet in ('5999999-["message",{"_placeholder":true,"num":0}]', b"bytes"):
        listener = await either_chat.listen(chat_id)
        await listener.client.eio.send(packet)
        await asyncio.wait_for(listener.closed.wait(), 10)
    listener = await either_chat.listen(chat_id)
    await listener.client.emit("message", {"user_id": alice, "message": b"bytes"})
    await asyncio.wait_for(listener.closed.wait(), 10)


async def test_joining_beside_a_busy_chat_doubles_nothing(chat_house: ChatHouse) -> None:
    """A batch holds messages of many chats, so a broadcast may come long after the commit."""
    chat_id, alice, bob, _ = await chat_house.chat()
    busy = await chat_house.house.deal(alice, bob)
    crowd = [await chat_house.listen(busy["chat_id"]) for _ in range(20)]
    writer = await chat_house.listen(chat_id)
    stop = asyncio.Event()

    async def write(listener: Any) -> None:
        while not stop.is_set():
            await listener.say(alice, "x")

    writing = [asyncio.create_task(write(listener)) for listener in [writer, *crowd]]
    joined = []
    for _ in range(8):
        joined += await asyncio.gather(*(chat_house.listen(chat_id) for _ in range(5)))
    stop.set()
    await asyncio.gather(*writing)
    total = (await writer.say(alice, "last"))["seq"]

    for listener in joined:
        assert await listener.until(total) == list(range(1, total + 1))


async def test_what_was_committed_without_a_broadcast_is_sent_before_the_next(chat_house: ChatHouse) -> None:
    chat_id, alice, _, _ = await chat_house.chat()
    listener = await chat_house.listen(chat_id)
    await listener.say(alice, "one")
    connection = await asyncpg.connect(chat_house.house.databases.owner_url("chat"))
    try:
        await connection.execute(
            "WITH c AS (UPDATE chat SET last_seq = 2 RETURNING id)"
            " INSERT INTO message (chat_id, seq, user_id, role, text, created_at)"
            " SELECT id, 2, $1, 'customer', 'two', now() FROM c",
            alice,
        )
    finally:
        await connection.close()

    assert (await listener.say(alice, "three"))["seq"] == 3
    assert await listener.until(3) == [1, 2, 3]


async def test_a_failed_broadcast_strands_nobody(chat_house: ChatHouse) -> None:
    alice, bob = 1, 2
    chat = Chat(uuid4(), 7, 1, alice, bob)
    async with chat_house.database.transaction() as connection:
        await messages.keep_chat(connection, chat)

    def fail(_: Sequence[Message]) -> None:
        raise OSError("the history could not be read")

    writer = Writer(chat_house.database, SystemClock(), fail)
    drafts = [Draft(chat, alice, Role.CUSTOMER, str(number)) for number in range(5)]

    answers = await asyncio.wait_for(asyncio.gather(*(writer.submit(draft) for draft in drafts)), 10)

    assert [answer.seq for (answer,) in answers if isinstance(answer, Message)] == [1, 2, 3, 4, 5]


async def test_a_reader_that_stops_reading_is_cut_off_and_costs_the_others_nothing(
    either_chat: ChatHouse,
) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    url = either_chat.url.removeprefix("http://")
    host, port = url.split(":")
    reader, deaf = await asyncio.open_connection(host, int(port), limit=1)
    request = f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {url}\r\nUpgrade: websocket\r\n"
    deaf.write(
        f"{request}Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode()
    )
    payload = f'40{{"token":"{chat_id}"}}'.encode()
    deaf.write(bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload)
    writer = await either_chat.listen(chat_id)
    await in_room(either_chat, chat_id, 2)
    text = "x" * 4000

    for _ in range(30):
        await asyncio.gather(*(writer.say(alice, text) for _ in range(100)))

    assert len(await writer.until(3000)) == 3000
    received = 0
    while chunk := await asyncio.wait_for(reader.read(1 << 20), 10):  # until the server has closed it
        received += len(chunk)
    deaf.close()
    assert received < 3000 * len(text)


async def test_a_frame_over_64_kib_ends_the_connection(either_chat: ChatHouse) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    listener = await either_chat.listen(chat_id)

    await listener.client.emit("message", {"user_id": alice, "message": "x" * 70_000})

    await asyncio.wait_for(listener.closed.wait(), 10)


async def test_a_chat_once_entered_opens_while_deals_is_away(chat_house: ChatHouse) -> None:
    chat_id, alice, _, _ = await chat_house.chat()
    await (await chat_house.listen(chat_id)).say(alice, "hello")
    connection = await asyncpg.connect(chat_house.house.databases.owner_url("deals"))
    try:
        await connection.execute("DELETE FROM deal")
    finally:
        await connection.close()

    assert await (await chat_house.listen(chat_id)).until(1) == [1]


async def test_health_and_unknown_paths(chat_house: ChatHouse) -> None:
    async with aiohttp.ClientSession() as session:
        found = {}
        for path in ("/healthz", "/readyz", "/api/v1/chat/x"):
            async with session.get(chat_house.url + path) as answer:
                found[path] = (answer.status, answer.content_type)
    assert found == {
        "/healthz": (200, "application/json"),
        "/readyz": (200, "application/json"),
        "/api/v1/chat/x": (404, "application/problem+json"),
    }
