"""Continuing where a client stopped, sending again, marks of what was read, and who is there; on both paths."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from chat.adapters.wire import NatsWire
from chat.use_cases.note_transitions import note_transitions
from support.chatting import ChatHouse, Listener, Nobody, in_room, there, told, until_told
from support.house import received
from support.packets import Raw, RawSocket, by_hand, message_packet
from support.waiting import eventually

END = '42["presence"'
"""The first thing that a client is told when it has all that it lacked."""


@pytest.fixture
async def raw(either_chat: ChatHouse) -> AsyncIterator[Raw]:
    async with by_hand(either_chat.url) as opened:
        yield opened


async def caught_up(raw: Raw, token: str, **auth: Any) -> tuple[list[int], list[int]]:
    """Join and return the numbers of the messages and of the system events that come before the live ones."""
    one = await raw.websocket()
    assert (await one.join(token, **auth)).startswith("40")
    await one.until(END)
    events = [json.loads(packet[2:]) for packet in one.got if packet.startswith("42")]
    return tuple([body["seq"] for name, body in events if name == kind] for kind in ("message", "system"))  # type: ignore[return-value]


async def test_a_client_that_comes_back_gets_what_it_lacks_and_no_more(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, alice, _, deal_id = await either_chat.chat()
    listener = await either_chat.listen(chat_id)
    await either_chat.dispute(deal_id, alice)
    for envelope in await either_chat.house.outbox("deals"):
        await note_transitions(either_chat.database, Nobody(), [received(envelope)])
    for number in range(5):
        await listener.say(alice, str(number))
    messages, system = await caught_up(raw, chat_id)
    assert (messages, len(system)) == ([1, 2, 3, 4, 5], system[-1])
    last = system[-1]
    assert last >= 2

    for after, after_system, expected in (
        (0, 0, (messages, system)),
        (3, 0, ([4, 5], system)),
        (0, last - 1, (messages, [last])),
        (5, last, ([], [])),
        (99, 2**63 - 1, ([], [])),
    ):
        assert await caught_up(raw, chat_id, after_seq=after, after_system_seq=after_system) == expected


async def test_who_says_that_it_has_more_than_there_is_gets_what_comes(either_chat: ChatHouse) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    ahead = await either_chat.listen(None, auth={"token": chat_id, "after_seq": 1_000})
    await in_room(either_chat, chat_id, 1)  # what is stored before, it says that it has
    writer = await either_chat.listen(chat_id)

    for text in ("one", "two"):
        await writer.say(alice, text)

    assert await ahead.until(2) == [1, 2]


async def test_what_was_told_of_and_is_stored_nowhere_keeps_nobody_out(
    chat_house: ChatHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a database came back without its last moments."""
    chat_id, alice, _, _ = await chat_house.chat()
    follow = NatsWire.follow

    async def told_meanwhile(wire: NatsWire, followed: UUID) -> None:
        await follow(wire, followed)
        chat_house.side.rooms.heard(followed, "message", [{"seq": 9}])

    monkeypatch.setattr(NatsWire, "follow", told_meanwhile)
    alone = await chat_house.listen(chat_id)

    await alone.say(alice, "hello")
    assert await alone.until(1) == [1]


@pytest.mark.parametrize("wrong", [-1, "5", 1.5, True, None, [5], 2**63])
@pytest.mark.parametrize("name", ["after_seq", "after_system_seq"])
async def test_what_is_no_position_is_refused_in_words(chat_house: ChatHouse, name: str, wrong: Any) -> None:
    chat_id, _, _, _ = await chat_house.chat()
    async with by_hand(chat_house.url) as raw:
        answer = await (await raw.websocket()).join(chat_id, **{name: wrong})

    assert answer.startswith("44")
    assert json.loads(answer[2:]) == {
        "message": f"{name} must be a whole number, 0 or more",
        "data": {"code": "invalid_input", "detail": f"{name} must be a whole number, 0 or more"},
    }


async def acknowledged(one: RawSocket, number: int) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads((await one.until(f"43{number}["))[2 + len(str(number)) :])
    return found[0]


async def test_a_resend_after_a_reconnect_gets_the_same_answer_and_nobody_hears_it_twice(
    either_chat: ChatHouse, raw: Raw
) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    other = await either_chat.listen(chat_id)
    for number, name in enumerate("abc", start=1):
        one = await raw.websocket()
        await one.join(chat_id)
        await one.send(message_packet(alice, f"text {name}", number, client_msg_id=name))
        if name == "b":  # its answer is lost with the connection
            await other.until(2)
        else:
            assert (await acknowledged(one, number))["seq"] == number
        await one.ws.close()

    again = await raw.websocket()
    await again.join(chat_id, after_seq=3)
    await again.send(
        *(message_packet(alice, f"text {name}", n, client_msg_id=name) for n, name in enumerate("abc"))
    )
    answers = [await acknowledged(again, n) for n in range(3)]
    await again.send(message_packet(alice, "another", 7, client_msg_id="a"), message_packet(alice, "last", 8))

    assert await acknowledged(again, 7) == {"error": "client_msg_id_taken"}
    assert (await acknowledged(again, 8))["seq"] == 4
    assert await other.until(4) == [1, 2, 3, 4]
    assert answers == [{"id": message["id"], "seq": message["seq"]} for message in other.heard[:3]]
    assert [packet for packet in again.got if '"text' in packet] == []


async def test_an_answer_comes_after_the_commit_only(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    one, other = await raw.websocket(), await either_chat.listen(chat_id)
    await one.join(chat_id)
    await one.until(END)
    connection = await asyncpg.connect(either_chat.house.databases.owner_url("chat"))
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM chat FOR UPDATE")
            await one.send(message_packet(alice, "hello", 1))

            async def waits() -> bool:
                count = await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
                return bool(count)

            await eventually(waits)
            assert [packet for packet in one.got if packet.startswith("43")] == []
            assert other.heard == []
            assert await connection.fetchval("SELECT count(*) FROM message") == 0
        assert (await acknowledged(one, 1))["seq"] == 1
        assert await connection.fetchval("SELECT count(*) FROM message") == 1
    finally:
        await connection.close()
    assert await other.until(1) == [1]


async def test_marks_of_what_was_read_move_forward_and_all_see_them(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, alice, bob, deal_id = await either_chat.chat()
    reader, marks = await told(either_chat, await either_chat.token(deal_id, alice), "read")
    plain, seen = await told(either_chat, chat_id, "read")
    await in_room(either_chat, chat_id, 2)
    for number in range(4):
        await plain.say(bob, str(number))

    async def read(listener: Listener, **payload: Any) -> Any:
        return await listener.client.call("read", payload, timeout=10)

    assert await read(reader, seq=2) == {"read": True}
    assert await read(reader, seq=1) == {"read": True}  # back it never goes
    assert await read(reader, seq=99) == {"read": True}  # it has not read more than there is
    await either_chat.side.rooms.heal()  # what the database says again is not told again
    either_chat.side.rooms.heard(
        UUID(chat_id), "read", [{"role": "customer", "last_read_seq": 3}]
    )  # it comes late
    assert await read(plain, seq=3, user_id=bob) == {"read": True}
    assert await read(plain, seq=3, user_id=bob + alice + 1) == {"error": "not_a_party"}
    assert await read(plain, seq=3) == {"error": "not_a_party"}
    assert await read(reader, seq=3, user_id=bob) == {"error": "not_a_party"}
    assert await read(reader, seq="3") == {"error": "invalid_message"}

    expected = [
        {"role": "customer", "last_read_seq": 2},
        {"role": "customer", "last_read_seq": 4},
        {"role": "performer", "last_read_seq": 3},
    ]
    assert await until_told(marks, expected[-1]) == await until_told(seen, expected[-1]) == expected
    late = await raw.websocket()
    await late.join(chat_id)
    shown = [json.loads((await late.until('42["read"'))[2:])[1] for _ in range(2)]
    assert sorted(shown, key=lambda mark: str(mark["role"])) == expected[1:]


async def test_a_mark_that_nobody_told_of_is_shown_to_all_once_somebody_joins(
    either_chat: ChatHouse, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_id, alice, _, deal_id = await either_chat.chat()

    async def unhealed(_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(either_chat.side.rooms, "_states", unhealed)
    listener, marks = await told(either_chat, await either_chat.token(deal_id, alice), "read")
    await in_room(either_chat, chat_id, 1)
    await listener.say(alice, "x")
    await either_chat.house.execute("chat", "UPDATE chat SET performer_read_seq = 1")

    joining = await raw.websocket()  # held by its name: a socket that nobody holds is closed, and joins nothing
    await joining.join(chat_id)

    mark = {"role": "performer", "last_read_seq": 1}
    assert await until_told(marks, mark) == [mark]


async def test_two_tabs_of_one_party_are_one_and_leaving_shows(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, alice, bob, deal_id = await either_chat.chat()
    tokens = {user: await either_chat.token(deal_id, user) for user in (alice, bob)}
    watcher = await raw.websocket()
    await watcher.join(tokens[bob])
    assert json.loads((await watcher.until(END))[2:])[1] == there("performer")

    tabs = [await either_chat.listen(tokens[alice]) for _ in range(2)]
    await in_room(either_chat, chat_id, 3)
    second = await raw.websocket()
    await second.join(tokens[bob])
    assert json.loads((await second.until(END))[2:])[1] == there("performer", "customer")
    await tabs[0].client.disconnect()
    await tabs[1].say(alice, "one tab is left")
    await watcher.until('42["message"')
    await tabs[1].client.disconnect()
    await watcher.until(END)

    shown = [json.loads(packet[2:])[1] for packet in watcher.got if packet.startswith(END)]
    assert shown == [there("performer"), there("performer", "customer"), there("performer")]


async def test_who_came_with_a_plain_chat_id_is_no_party_that_is_there(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, _, _, _ = await either_chat.chat()
    one = await raw.websocket()
    await one.join(chat_id)

    assert json.loads((await one.until(END))[2:])[1] == there()


async def test_what_is_said_while_a_client_goes_from_polling_to_its_websocket_comes_once_and_in_order(
    either_chat: ChatHouse, raw: Raw
) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    writer = await either_chat.listen(chat_id)
    polling = await raw.polling()
    got = await polling.join(chat_id)
    stop = asyncio.Event()

    async def write() -> int:
        last = 0
        while not stop.is_set():
            last = (await writer.say(alice, "x"))["seq"]
        return last

    async def poll() -> None:
        while "6" not in got:
            got.extend(await polling.poll())

    writing, polls = asyncio.create_task(write()), asyncio.create_task(poll())
    await writer.until(20)
    socket = await raw.websocket(sid=polling.sid)
    await socket.send("2probe")
    assert await socket.next() == "3probe"
    await polls
    await writer.until(len(writer.heard) + 20)
    await socket.send("5")
    await writer.until(len(writer.heard) + 20)
    stop.set()
    last = await writing
    while f'"seq":{last},' not in socket.got[-1]:
        assert await socket.next() is not None

    packets = [packet for packet in [*got, *socket.got] if packet.startswith('42["message"')]
    assert [json.loads(packet[2:])[1]["seq"] for packet in packets] == list(range(1, last + 1))
