"""What strangers and slow clients do to a connection, packet by packet, on both paths."""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from structlog.testing import capture_logs

from chat.api import lean, server
from chat.api.app import Options
from chat.api.limits import Limits
from chat.domain.live import Page
from common.metrics import REGISTRY
from support.chatting import ChatHouse, a_long_history, build_chat, in_room
from support.house import House
from support.packets import PATH, Raw, by_hand, connect_packet, message_packet
from support.sources import Broker
from support.waiting import eventually

DEEP = "[" * 60_000
FEW = 3

MALFORMED_ENGINE: list[str | bytes] = [
    "",
    "x",
    "2",
    "2probe",
    "0",
    "5",
    "6",
    "7",
    "9",
    "bAAAA",
    "\x00",
    "ü",
    b"",
    b"4",
    b"\xff",
]
MALFORMED_SOCKET: list[str] = [
    *("4", "4x", "45", "46", "47", "49", "4ü"),
    *(
        "42",
        "42[",
        "42[]",
        "42{}",
        '42"x"',
        "42[1]",
        "42[null]",
        '42[["message"]]',
        "42x[]",
        '42["message",',
        "42NaN",
    ),
    *("42" + DEEP, '42["message",' + DEEP, '42["message",{"a":' + DEEP, '42["\\ud800",' + DEEP),
    *("40" + DEEP, '40{"token":', "40[", "43", "43[", "431", "43" + DEEP, '44{"message":"x"}'),
    *('450-["message"]', '451-["message",{"_placeholder":true,"num":0}]', '45999999999-["x"]', "461-1[]"),
]


@pytest.fixture
async def raw(either_chat: ChatHouse) -> AsyncIterator[Raw]:
    async with by_hand(either_chat.url) as opened:
        yield opened


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"garant_chat_{name}_total", labels) or 0.0


async def nobody_is_left(house: ChatHouse, most: int) -> None:
    """Check that nothing is kept of connections that have ended."""
    server = house.side.sockets._server

    async def kept() -> tuple[int, ...]:
        manager = server.manager
        rooms = manager.rooms.get("/", {})
        return (
            len(server.eio.sockets),
            len(server.environ),
            len(rooms.get(None, ())),
            len(list(house.side.sockets.links)),
        )

    assert await eventually(kept, lambda found: max(found) <= most)


def check_quiet(caplog: pytest.LogCaptureFixture, structured: list[Any]) -> None:
    """Check that strangers caused at most a few lines of log, and no traceback."""
    lines = [entry for entry in structured if entry["log_level"] in ("warning", "error", "critical")]
    lines += [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) <= FEW, lines
    assert not [record for record in caplog.records if record.exc_info]


async def test_malformed_packets_end_the_connection_and_do_not_fill_the_log(
    either_chat: ChatHouse, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    good = await either_chat.listen(chat_id)
    kinds = [*MALFORMED_ENGINE, *MALFORMED_SOCKET]
    before = counted("refused", limit="malformed")

    with capture_logs() as structured:
        for kind in kinds:
            for joined in (True, False):
                bad = await raw.websocket()
                if joined:
                    assert (await bad.join(chat_id)).startswith("40")
                await bad.send(kind)
                try:
                    await bad.until_ended()
                except TimeoutError:
                    raise AssertionError(f"{kind[:30]!r} was survived") from None

    check_quiet(caplog, structured)
    assert counted("refused", limit="malformed") >= before + len(kinds)
    assert (await good.say(alice, "still here"))["seq"] == 1
    await nobody_is_left(either_chat, 1)


async def test_malformed_packets_of_a_polling_client_end_its_connection(
    either_chat: ChatHouse, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    good = await either_chat.listen(chat_id)
    kinds = [kind for kind in MALFORMED_ENGINE if isinstance(kind, str) and kind] + MALFORMED_SOCKET
    with capture_logs() as structured:
        for kind in kinds:
            bad = await raw.polling()
            await bad.join(chat_id)
            # What comes behind it in the same body reaches nobody.
            status = await bad.post(kind, connect_packet(chat_id), message_packet(alice, "behind"))
            assert status in (200, 400), (kind[:30], status)
            await bad.until_ended()

    check_quiet(caplog, structured)
    assert (await good.say(alice, "still here"))["seq"] == 1
    await nobody_is_left(either_chat, 1)


@pytest.mark.parametrize("last", ["1", "x"])
async def test_who_stays_after_the_end_is_cut_off(
    either_chat: ChatHouse, raw: Raw, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean, "CLOSE_S", 0.2)
    chat_id, _, _, _ = await either_chat.chat()
    staying = await raw.websocket()
    await staying.join(chat_id)

    await staying.send(last)
    staying.pause()  # it answers no closing frame
    await nobody_is_left(either_chat, 0)
    staying.resume()
    await staying.until_cut_off()


async def test_asking_for_another_namespace_joins_nothing_again(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    other = await either_chat.listen(chat_id)
    await other.say(alice, "hello")
    joined = await raw.websocket()
    await joined.join(chat_id)
    await joined.until('42["presence"')

    await joined.send("40/other,", "40/other,", message_packet(alice, "next", 8))
    await joined.until("438")
    await other.say(alice, "last")
    while '"last"' not in await joined.until('42["message"'):
        pass

    heard = [json.loads(packet[2:])[1]["seq"] for packet in joined.got if packet.startswith('42["message"')]
    assert heard == [1, 2, 3]
    assert len([packet for packet in joined.got if packet.startswith("44/other,")]) == 2


async def test_nothing_is_sent_before_the_handshake_is_answered(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    await (await either_chat.listen(chat_id)).say(alice, "hello")
    late = await raw.websocket()
    polling = await raw.polling()

    assert (await late.join(chat_id)).startswith('40{"sid":')
    assert (await late.until("42")).startswith('42["message",{')
    assert (await polling.join(chat_id))[0].startswith('40{"sid":')


async def test_who_is_refused_hears_nothing_but_that(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    await (await either_chat.listen(chat_id)).say(alice, "secret")
    stranger = await raw.websocket()

    assert json.loads((await stranger.join("nonsense"))[2:])["message"] == "authorization error"
    await stranger.send(message_packet(alice, "not admitted", 1), '4243["read",{"seq":1}]')
    assert (await stranger.join(chat_id)).startswith("40")

    assert (await stranger.until("42")).startswith('42["message",{')
    assert [packet[:2] for packet in stranger.got] == ["0{", "44", "40", "42"]


async def test_a_bug_of_ours_refuses_with_a_code_that_says_try_again(
    either_chat: ChatHouse, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(either_chat.side.sockets, "_admit", fail)

    answer = json.loads((await (await raw.websocket()).join("token"))[2:])

    assert (answer["message"], answer["data"]["code"]) == ("temporarily unavailable", "unavailable")


@pytest.mark.parametrize("path", [True, False])
async def test_who_never_asks_for_the_namespace_is_ended(
    house: House, nats: Broker, monkeypatch: pytest.MonkeyPatch, path: bool
) -> None:
    async with build_chat(house, nats.url, options=Options(lean=path)) as built, by_hand(built.url) as raw:
        chat_id, alice, _, _ = await built.chat()
        before = counted("ended", reason="never_connected")
        joined, left = await built.listen(chat_id), await raw.websocket()
        await left.join(chat_id)
        monkeypatch.setattr(server, "CONNECT_S", 0.3)
        silent, polling, refused = await raw.websocket(), await raw.polling(), await raw.websocket()
        await refused.send(connect_packet("nonsense"))
        await left.send("41", "41")

        await asyncio.gather(*(one.until_ended() for one in (silent, polling, refused, left)))

        assert counted("ended", reason="never_connected") == before + 4
        assert (await joined.say(alice, "still here"))["seq"] > 0


@pytest.mark.parametrize("path", [True, False])
async def test_who_has_asked_waits_for_the_answer_as_long_as_it_takes(
    house: House, nats: Broker, monkeypatch: pytest.MonkeyPatch, path: bool
) -> None:
    async with build_chat(house, nats.url, options=Options(lean=path)) as built, by_hand(built.url) as raw:
        first, second, nobodys = (await built.chat())[0], (await built.chat())[0], str(UUID(int=1))
        asking, wrong = await raw.websocket(), await raw.websocket()
        await asking.join(first)
        await wrong.join(first)
        built.deals_wire.gate = asyncio.Event()
        monkeypatch.setattr(server, "CONNECT_S", 2)
        await asking.send("41", connect_packet(second))
        await wrong.send("41", connect_packet(nobodys))
        await (await raw.websocket()).until_ended()

        built.deals_wire.gate.set()

        assert (await asking.until("4")).startswith("40")
        assert (await wrong.until("4")).startswith("44")
        await wrong.until_ended()


@pytest.mark.parametrize("upgrade", [False, True])
async def test_deflate_is_not_negotiated(either_chat: ChatHouse, raw: Raw, upgrade: bool) -> None:
    chat_id, _, _, _ = await either_chat.chat()
    if upgrade:
        polling = await raw.polling()
        await polling.join(chat_id)
        socket = await raw.websocket(sid=polling.sid, deflate=True)
        await socket.send("2probe")
        assert await socket.next() == "3probe"
        await socket.send("5")
    else:
        socket = await raw.websocket(deflate=True)
        await socket.join(chat_id)

    assert socket.ws._response.request_info.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
    assert "Sec-WebSocket-Extensions" not in socket.ws._response.headers
    assert socket.ws.compress == 0


async def test_intervals_are_told_in_milliseconds(either_chat: ChatHouse, raw: Raw) -> None:
    either_chat.side.sockets._server.eio.ping_interval = 0.5

    opening = json.loads((await raw.websocket()).got[0][1:])

    assert (opening["pingInterval"], opening["pingTimeout"]) == (500, 20_000)
    assert opening["maxPayload"] == 64 * 1024


@pytest.mark.parametrize("wrong", ['"\\u0000"', '"a\\ud800b"', '"\\udc00"', '"\\uD83D"'])
async def test_nul_and_lone_surrogates_are_refused_in_words(either_chat: ChatHouse, raw: Raw, wrong: str) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    socket = await raw.websocket()
    await socket.join(chat_id)

    await socket.send(f'427["message",{{"user_id":{alice},"message":{wrong}}}]', message_packet(alice, "next", 8))

    assert await socket.until("437") == '437[{"error":"invalid_message"}]'
    assert json.loads((await socket.until("438"))[3:])[0]["seq"] == 1


async def test_a_client_that_does_not_answer_pings_is_ended(either_chat: ChatHouse, raw: Raw) -> None:
    chat_id, _, _, _ = await either_chat.chat()
    engine = either_chat.side.sockets._server.eio
    engine.ping_interval, engine.ping_timeout = 0.2, 3
    answering, silent = await raw.websocket(), await raw.websocket()
    await answering.join(chat_id)
    await silent.join(chat_id)

    async def answer() -> None:
        while await answering.next() == "2" or answering.got[-1][0] == "4":
            if answering.got[-1] == "2":
                await answering.send("3")

    task = asyncio.create_task(answer())
    await silent.until_ended()
    await nobody_is_left(either_chat, 1)
    assert not task.done()
    task.cancel()


MANY = 3_000


@pytest.mark.parametrize(
    ("packet", "joined"),
    [("3", True), ('42["x"]', False), ('42["message"]', True), ("41/other,", False), ("ping", False)],
)
async def test_who_sends_many_packets_for_nothing_takes_no_turn_from_the_others(
    either_chat: ChatHouse, raw: Raw, packet: str, joined: bool
) -> None:
    chat_id, alice, bob, _ = await either_chat.chat()
    good = await either_chat.listen((await either_chat.house.deal(alice, bob))["chat_id"])
    hasty = await raw.websocket()
    if joined:
        await hasty.join(chat_id)

    for _ in range(MANY):
        await (hasty.ws.ping() if packet == "ping" else hasty.send(packet))
    await hasty.send("x")  # which ends the connection, once it is read
    ended = asyncio.create_task(hasty.until_ended())
    await good.say(alice, "a message that waits for PostgreSQL")

    assert not ended.done()
    ended.cancel()


async def test_who_posts_many_packets_for_nothing_takes_no_turn_from_the_others(
    either_chat: ChatHouse, raw: Raw
) -> None:
    chat_id, alice, _, _ = await either_chat.chat()
    good, hasty = await either_chat.listen(chat_id), await raw.polling()

    post = asyncio.create_task(hasty.post(*['42["x"]'] * MANY))
    await good.say(alice, "a message that waits for PostgreSQL")

    assert not post.done()
    post.cancel()


async def test_what_was_posted_is_read_no_further_once_the_session_has_ended(
    either_chat: ChatHouse, raw: Raw
) -> None:
    hasty = await raw.polling()
    post = asyncio.create_task(hasty.post(*["3"] * 10_000))  # each costs a pause
    await asyncio.wait({post}, timeout=0.5)
    assert not post.done()

    await either_chat.side.sockets._server.eio.end(hasty.sid)

    await asyncio.wait_for(post, 5)


def waiting_bytes(house: ChatHouse) -> int:
    """Return how much waits for the one client that is slow."""
    transports = [link.socket.request.transport for link in house.side.sockets.links]
    return max((one.get_write_buffer_size() for one in transports if one is not None), default=0)


@pytest.mark.parametrize("path", [True, False], ids=["lean", "upstream"])
async def test_who_reads_a_long_history_slowly_is_not_cut_off(house: House, nats: Broker, path: bool) -> None:
    options = Options(limits=Limits(client_buffer_bytes=64 * 1024), lean=path)  # a slice of the history is as much
    count = 4_000
    async with build_chat(house, nats.url, options=options) as built, by_hand(built.url) as raw:
        chat_id, alice, _, _ = await built.chat()
        await (await built.listen(chat_id)).client.disconnect()
        await a_long_history(built, count)
        slow = await raw.websocket()
        slow.pause()
        await slow.send(connect_packet(chat_id))

        async def waits() -> bool:
            return waiting_bytes(built) > 16 * 1024

        async def no_page_is_held() -> bool:
            gc.collect()
            pages = [one for one in gc.get_objects() if isinstance(one, Page) and one.messages]
            return not [page for page in pages if page.state.id == UUID(chat_id)]

        assert await eventually(waits)
        assert await eventually(no_page_is_held)
        quick = await built.listen(None, auth={"token": chat_id, "after_seq": count})
        assert (await quick.say(alice, "live"))["seq"] == count + 1
        slow.resume()
        seqs = [json.loads((await slow.until('42["message"'))[2:])[1]["seq"] for _ in range(count + 1)]

    assert seqs == list(range(1, count + 2))


async def test_a_client_that_does_not_poll_is_ended_and_costs_no_other_its_poll(either_chat: ChatHouse) -> None:
    """Both come over one connection, as they do through a proxy."""
    chat_id, alice, bob, _ = await either_chat.chat()
    other = (await either_chat.house.deal(alice, bob))["chat_id"]
    writer, friend = await either_chat.listen(chat_id), await either_chat.listen(other)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        proxy = Raw(either_chat.url, session)
        slow, quick = await proxy.polling(), await proxy.polling()
        await slow.join(chat_id)
        await quick.join(other)
        await in_room(either_chat, chat_id, 2)  # what is said from now on is no history to the slow one
        before = counted("refused", limit="client_buffer")
        polling = asyncio.create_task(quick.until('42["message"'))

        for _ in range(4):
            await asyncio.gather(*(writer.say(alice, "x" * 4000) for _ in range(100)))
        await nobody_is_left(either_chat, 3)
        await friend.say(alice, "hello")

        assert "hello" in await polling
        assert await slow.poll() == []
        assert await slow.post("3") == 400
        assert counted("refused", limit="client_buffer") == before + 1


async def test_who_goes_away_in_the_middle_of_an_upgrade_is_no_failure_of_ours_and_goes_on_polling(
    either_chat: ChatHouse, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_id, _, _, _ = await either_chat.chat()
    polling = await raw.polling()
    gone = asyncio.Event()
    said = lean.PlainWebSocket.next

    async def next_after_the_client_has_gone(ws: lean.PlainWebSocket) -> aiohttp.WSMessage:
        message = await said(ws)
        if message.data == "2probe":
            request = ws.environ["aiohttp.request"]

            async def has_gone() -> bool:
                return request.transport is None or request.transport.is_closing()

            await eventually(has_gone)
            gone.set()
        return message

    monkeypatch.setattr(lean.PlainWebSocket, "next", next_after_the_client_has_gone)
    with capture_logs() as structured:
        socket = await raw.websocket(sid=polling.sid)
        await socket.send("2probe")
        socket._transport().abort()
        await socket.ws.close()
        await asyncio.wait_for(gone.wait(), 10)
        assert (await polling.join(chat_id))[0].startswith("40")  # its session goes on

    assert [entry for entry in structured if entry["event"] == "http.dependency_failed"] == []


async def test_an_upgrade_beside_another_is_no_failure_of_ours(either_chat: ChatHouse, raw: Raw) -> None:
    polling = await raw.polling()
    first = await raw.websocket(sid=polling.sid)
    with capture_logs() as structured:
        url = f"{either_chat.url}{PATH}?EIO=4&transport=websocket&sid={polling.sid}"
        async with raw.session.get(url, headers={"Connection": "Upgrade", "Upgrade": "websocket"}) as refused:
            assert refused.status == 400
        await first.send("2probe")
        assert await first.next() == "3probe"
        await first.ws.close()

    assert [entry for entry in structured if entry["event"] == "http.dependency_failed"] == []
