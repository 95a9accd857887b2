"""Each limit of the chat: what is over it is refused and counted, and the neighbours do not notice."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from chat.api import engine, links, rooms
from chat.api.app import Options
from chat.api.limits import Limits
from common.metrics import REGISTRY
from garant_local.nats import Nats
from support.chatting import ChatHouse, Refused, a_long_history, build_chat
from support.house import House
from support.packets import PATH, Raw, RawSocket, by_hand, connect_packet, message_packet
from support.waiting import eventually

PROXY = (ip_network("127.0.0.0/8"),)
BAD, GOOD = "203.0.113.7", "203.0.113.8"

Limited = Callable[..., AbstractAsyncContextManager[tuple[ChatHouse, Raw]]]


@pytest.fixture(params=[True, False], ids=["lean", "upstream"])
def limited(request: pytest.FixtureRequest, house: House, nats: Nats) -> Limited:
    """Return what serves a chat with limits, on both paths."""

    @asynccontextmanager
    async def serve(**limits: int) -> AsyncIterator[tuple[ChatHouse, Raw]]:
        options = Options(limits=Limits(**limits), trusted_proxies=PROXY, lean=request.param)
        async with build_chat(house, nats.url, options=options) as built, by_hand(built.url) as raw:
            yield built, raw

    return serve


def refused(limit: str) -> float:
    return REGISTRY.get_sample_value("garant_chat_refused_total", {"limit": limit}) or 0.0


def check_rate_limited(answer: dict[str, Any]) -> float:
    """Check an acknowledgement; return after how many seconds one may ask again."""
    assert answer == {"error": "rate_limited", "retry_after_s": answer.get("retry_after_s")}
    assert 0 < answer["retry_after_s"] <= 1
    return float(answer["retry_after_s"])


async def acknowledged(one: RawSocket, count: int) -> list[dict[str, Any]]:
    """Return the answers to so many events, by their numbers; a refusal may overtake what is being stored."""
    answers: dict[int, dict[str, Any]] = {}
    while len(answers) < count:
        number, _, body = (await one.until("43"))[2:].partition("[")
        answers[int(number)] = json.loads(f"[{body}")[0]
    return [answers[number] for number in sorted(answers)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The buckets' clock, which stands: on a machine that stalls they would fill meanwhile."""
    standing = SimpleNamespace(now=0.0)
    standing.monotonic = lambda: standing.now
    for module in (links, rooms):
        monkeypatch.setattr(module, "time", standing)
    return standing


async def test_a_client_says_so_much_and_another_of_its_chat_goes_on(
    limited: Limited, clock: SimpleNamespace
) -> None:
    async with limited(client_messages_per_s=5) as (built, raw):
        chat_id, alice, bob, _ = await built.chat()
        other = await built.listen(chat_id)
        hasty = await raw.websocket()
        await hasty.join(chat_id)
        before = refused("client_messages")

        await hasty.send(*(message_packet(alice, str(n), n) for n in range(8)))
        answers = await acknowledged(hasty, 8)

        assert [answer.get("seq") for answer in answers[:5]] == [1, 2, 3, 4, 5]
        for answer in answers[5:]:
            assert check_rate_limited(answer) <= 0.2
        assert refused("client_messages") == before + 3
        assert (await other.say(bob, "I am not the hasty one"))["seq"] == 6
        clock.now += answers[7]["retry_after_s"]  # what it is told is enough
        await hasty.send(message_packet(alice, "again", 9))
        assert json.loads((await hasty.until("439"))[3:])[0]["seq"] == 7


@pytest.mark.usefixtures("clock")
async def test_a_mark_counts_as_a_message(limited: Limited) -> None:
    async with limited(client_messages_per_s=2) as (built, raw):
        chat_id, alice, _, _ = await built.chat()
        hasty = await raw.websocket()
        await hasty.join(chat_id)

        await hasty.send(*(f'42{n}["read",{{"seq":1,"user_id":{alice}}}]' for n in range(3)))

        first, second, third = await acknowledged(hasty, 3)
        assert first == second == {"read": True}
        check_rate_limited(third)


async def test_what_a_hasty_client_is_refused_is_not_taken_from_its_chat(limited: Limited) -> None:
    async with limited(client_messages_per_s=2, chat_messages_per_s=6) as (built, raw):
        chat_id, alice, bob, _ = await built.chat()
        hasty, other = await raw.websocket(), await raw.websocket()
        for one in (hasty, other):
            await one.join(chat_id)
            await one.until('42["presence"')  # it is in its room

        await hasty.send(*(message_packet(alice, "x", n) for n in range(50)))
        assert "seq" in (await acknowledged(hasty, 50))[0]

        await other.send(message_packet(bob, "I am not the hasty one", 1))
        assert "seq" in (await acknowledged(other, 1))[0]


@pytest.mark.usefixtures("clock")
async def test_a_chat_says_so_much_over_all_its_clients_and_another_chat_goes_on(limited: Limited) -> None:
    async with limited(chat_messages_per_s=6) as (built, raw):
        chat_id, alice, bob, _ = await built.chat()
        other = await built.listen((await built.house.deal(alice, bob))["chat_id"])
        two = [await raw.websocket(), await raw.websocket()]
        before = refused("chat_messages")
        for one in two:
            await one.join(chat_id)
            await one.until("42")  # it is in its room

        for one in two:
            await one.send(*(message_packet(alice, "x", n) for n in range(5)))
        answers = [answer for one in two for answer in await acknowledged(one, 5)]

        late = [answer for answer in answers if "error" in answer]
        assert len(late) == 4
        for answer in late:
            check_rate_limited(answer)
        assert refused("chat_messages") == before + 4
        assert (await other.say(alice, "hello"))["seq"] == 1


async def test_an_address_has_so_many_connections_and_another_has_its_own(limited: Limited) -> None:
    async with limited(connections_per_address=2) as (built, raw):
        chat_id, _, _, _ = await built.chat()
        first, _ = await raw.websocket(address=BAD), await raw.polling(address=BAD)
        before = refused("connections_per_address")

        for transport in ("polling", "websocket"):
            await check_429(raw, transport, BAD, "this address has as many connections as one may have")

        assert refused("connections_per_address") == before + 2
        neighbour = await raw.websocket(address=GOOD)
        assert (await neighbour.join(chat_id)).startswith("40")
        await first.ws.close()
        again = await eventually_open(raw, BAD)
        assert (await again.join(chat_id)).startswith("40")


@pytest.mark.parametrize("query", ["&sid=", "&sid=&sid=x"])
async def test_an_empty_session_is_no_way_around_the_limits(limited: Limited, query: str) -> None:
    async with limited(connections_per_address=1) as (built, raw):
        await raw.polling()

        async with raw.session.get(f"{built.url}{PATH}?EIO=4&transport=polling{query}") as answer:
            assert answer.status in (400, 429), await answer.text()


async def check_429(raw: Raw, transport: str, address: str, words: str) -> None:
    status, content_type, body = await raw.refusal(transport, address)
    assert (status, content_type) == (429, "application/problem+json")
    assert body["code"] == "rate_limited"
    assert words in body["detail"]
    assert body["retry_after_s"] > 0


async def test_who_is_refused_waits_for_the_answer_while_not_too_many_do(
    limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "REFUSED_AFTER_S", 60.0)
    monkeypatch.setattr(engine, "MOST_REFUSED_AT_ONCE", 2)
    async with limited(connections_per_address=1) as (_, raw):
        first = await raw.websocket(address=BAD)
        before = refused("connections_per_address")
        waiting = [asyncio.create_task(raw.refusal("polling", BAD)) for _ in range(2)]

        async def asked() -> float:
            return refused("connections_per_address") - before

        await eventually(asked, lambda count: count == 2)
        await check_429(raw, "websocket", BAD, "this address has as many connections as one may have")

        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await first.ws.close()
        await eventually_open(raw, BAD)


async def eventually_open(raw: Raw, address: str) -> RawSocket:
    """Connect as soon as there is a place."""

    async def attempt() -> RawSocket | None:
        try:
            return await raw.websocket(address=address)
        except WSServerHandshakeError:
            return None

    found = await eventually(attempt)
    assert found is not None
    return found


async def test_the_server_has_so_many_connections_and_those_who_are_in_stay(limited: Limited) -> None:
    async with limited(connections=2) as (built, raw):
        chat_id, alice, _, _ = await built.chat()
        inside = await built.listen(chat_id)
        second = await raw.websocket(address=GOOD)
        before = refused("connections")

        await check_429(raw, "websocket", BAD, "this server has as many connections as it takes")

        assert refused("connections") == before + 1
        assert (await inside.say(alice, "hello"))["seq"] == 1
        await second.join(chat_id)
        assert "hello" in await second.until('42["message"')


async def test_a_chat_has_so_many_connections_also_when_all_come_at_once(limited: Limited) -> None:
    async with limited(connections_per_chat=5) as (built, raw):
        chat_id, alice, bob, _ = await built.chat()
        other = (await built.house.deal(alice, bob))["chat_id"]
        before = refused("connections_per_chat")
        many = [await raw.websocket() for _ in range(20)]

        for one in many:
            await one.send(connect_packet(chat_id))
        answers = [await one.until("4") for one in many]

        assert len([answer for answer in answers if answer.startswith("40")]) == 5
        refusals = [json.loads(answer[2:]) for answer in answers if answer.startswith("44")]
        assert {refusal["message"] for refusal in refusals} == {
            "this chat has as many connections as one may have"
        }
        assert {refusal["data"]["code"] for refusal in refusals} == {"rate_limited"}
        assert refused("connections_per_chat") == before + 15
        assert (await (await built.listen(other)).say(alice, "hello"))["seq"] == 1
        await many[answers.index(next(a for a in answers if a.startswith("40")))].ws.close()

        async def place() -> bool:
            try:
                await built.listen(chat_id)
            except Refused:
                return False
            return True

        assert await eventually(place)


@pytest.mark.parametrize(
    "offence", [None, b"4x", b"4" + b"x" * 70_000, b"\xff"], ids=["token", "packet", "long", "utf-8"]
)
async def test_an_address_that_offends_is_refused_and_its_neighbours_are_not(
    limited: Limited, offence: bytes | None
) -> None:
    async with limited(refusals_per_minute=5) as (built, raw):
        chat_id, alice, _, _ = await built.chat()
        friend = await raw.websocket(address=BAD)
        await friend.join(chat_id)
        before = refused("refusals")

        for _ in range(5):
            bad = await raw.websocket(address=BAD)
            if offence is None:
                assert (await bad.join("nonsense")).startswith("44")
            else:
                await bad.ws.send_frame(offence, WSMsgType.TEXT)
                await bad.until_ended()

        for transport in ("polling", "websocket"):
            await check_429(raw, transport, BAD, "too many refused CONNECTs or malformed packets")
        assert refused("refusals") == before + 2
        good = await raw.websocket(address=GOOD)
        assert (await good.join(chat_id)).startswith("40")
        await friend.send(message_packet(alice, "I am in, and stay", 1))
        assert "seq" in await friend.until("431")


@pytest.mark.parametrize(
    "refused_packet",
    [connect_packet("nonsense"), connect_packet("nonsense", after_seq="x"), "40/other,"],
    ids=["token", "position", "namespace"],
)
async def test_packets_that_are_refused_over_one_connection_end_it(limited: Limited, refused_packet: str) -> None:
    async with limited(refusals_per_minute=5) as (_, raw):
        bad = await raw.websocket(address=BAD)

        await bad.send(*(refused_packet for _ in range(50)))
        await bad.until_ended()

        assert len([packet for packet in bad.got if packet.startswith("44")]) == 5
        await check_429(raw, "polling", BAD, "too many refused CONNECTs or malformed packets")


async def test_who_is_in_a_chat_and_asks_for_other_namespaces_is_ended(limited: Limited) -> None:
    async with limited(refusals_per_minute=5) as (built, raw):
        chat_id, _, _, _ = await built.chat()
        inside = await raw.websocket(address=BAD)
        await inside.join(chat_id)

        await inside.send(*("40/other," for _ in range(50)))
        await inside.until_ended()

        assert len([packet for packet in inside.got if packet.startswith("44")]) == 5


async def test_who_does_not_read_is_cut_off_at_the_buffer(limited: Limited) -> None:
    async with limited(client_buffer_bytes=64 * 1024) as (built, raw):
        chat_id, alice, _, _ = await built.chat()
        slow, writer = await raw.websocket(), await built.listen(chat_id)
        await slow.join(chat_id)
        await slow.until("42")  # it is in its room
        slow.pause()
        before = refused("client_buffer")

        async def said() -> float:
            for _ in range(10):  # more at once would be too much for the writer, who hears them too
                await asyncio.gather(*(writer.say(alice, "x" * 4000) for _ in range(10)))
            return refused("client_buffer") - before

        assert await eventually(said, within_s=60) == 1
        slow.resume()
        await slow.until_cut_off()
        assert await writer.until(1)


async def test_who_joins_and_reads_no_answers_is_cut_off_too(limited: Limited) -> None:
    async with limited(client_buffer_bytes=64 * 1024, client_messages_per_s=100_000) as (built, raw):
        chat_id, alice, _, _ = await built.chat()
        await (await built.listen(chat_id)).client.disconnect()
        await a_long_history(built, 4_000)
        slow = await raw.websocket()
        slow.pause()
        await slow.send(connect_packet(chat_id))
        before = refused("client_buffer")

        with contextlib.suppress(ConnectionError):
            for _ in range(4_000):  # each is refused at once, and says so under its long number
                await slow.send(message_packet(alice, "", 10**4_000))

        async def cut_off() -> float:
            return refused("client_buffer") - before

        assert await eventually(cut_off) == 1
        await slow.ws.close()


async def test_a_body_of_more_messages_than_may_be_under_way_is_taken_whole(
    limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "MOST_UNDER_WAY", 2)
    async with limited() as (built, raw):
        chat_id, alice, _, _ = await built.chat()
        polling = await raw.polling()
        await polling.join(chat_id)

        reader = await built.listen(chat_id)
        for _ in range(2):
            status = await asyncio.wait_for(polling.post(*[message_packet(alice, "x")] * 12), 20)
            assert status == 200

        assert await reader.until(24) == list(range(1, 25))


async def test_a_frame_has_a_size_on_every_transport(limited: Limited) -> None:
    async with limited(frame_bytes=64 * 1024) as (built, raw):
        chat_id, alice, _, _ = await built.chat()
        good = await built.listen(chat_id)
        socket, polling = await raw.websocket(), await raw.polling()
        await socket.join(chat_id)
        await polling.join(chat_id)
        fits = '42["other","' + "x" * (64 * 1024 - 16) + '"]'
        before, malformed = refused("frame"), refused("malformed")

        async def frames() -> float:
            return refused("frame") - before

        await socket.send(fits)
        assert await polling.post(fits) == 200
        assert await frames() == 0
        await socket.send(fits + "x" * 64)
        await socket.until_cut_off()
        assert await eventually(frames) == 1
        assert await polling.post(fits + "x" * 64) == 400
        await polling.until_ended()

        assert (await frames(), refused("malformed")) == (2, malformed)
        assert (await good.say(alice, "still here"))["seq"] == 1


async def test_a_frame_that_is_too_long_is_counted_before_its_connection_is_upgraded(limited: Limited) -> None:
    async with limited(frame_bytes=1024) as (_, raw):
        before = refused("frame")

        async def frames() -> float:
            return refused("frame") - before

        socket = await raw.websocket(sid=(await raw.polling()).sid)
        await socket.send("2probe" + "x" * 1024)
        await socket.until_cut_off()

        assert await eventually(frames) == 1
