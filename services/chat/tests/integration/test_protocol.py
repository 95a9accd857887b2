"""The checks of the official suites of Engine.IO v4 and Socket.IO v5 that matter here, over bare sockets.

They are those of github.com/socketio/engine.io-protocol and socket.io-protocol (`test-suite/test-suite.js`), with a
message of the chat in place of the suites' echo, on the lean path and (deep) on python-engineio's own. Where
python-engineio answers otherwise than the suites want, or the chat means to, the test says `differs` and why.
What strangers and slow clients may do is in `test_connections.py`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from yarl import URL

from chat.api import lean, server
from chat.api.app import Options
from support.chatting import ChatHouse, build_chat
from support.house import House
from support.packets import PATH, Polling, Raw, RawSocket, by_hand, connect_packet, message_packet
from support.sources import Broker

PATIENCE_S = 10
QUERY = "EIO=4&transport="
MALFORMED: dict[str, str | bytes] = {
    "an unknown packet of Socket.IO": "4abc",
    "an unknown packet of Engine.IO": "7",
    "no packet": "abc",
    "nothing": "",
    "an empty message": "4",
    "an event without a payload": "42",
    "an event that is no array": "42{}",
    "broken JSON": "42[",
    "an event without a name": "42[]",
    "a name that is no text": "42[5]",
    "a number that is none": '42abc["message",1]',
    "an acknowledgement without a number": "43abc",
    # Binary packets are of the protocol; the chat has no use for them, and upstream gathers them in memory.
    "differs: a binary message": b"\x01\x02",
    "differs: a binary event": '451-["message",{"_placeholder":true,"num":0}]',
    "differs: a binary acknowledgement": '461-1["message",{"_placeholder":true,"num":0}]',
}


@dataclass(slots=True)
class Bare:
    """A chat with one user, and connections to it by hand."""

    house: ChatHouse
    raw: Raw
    chat_id: str
    user_id: int

    def message(self, number: int | str = "") -> str:
        """Return a message of the chat; with a number, it is to be acknowledged."""
        return message_packet(self.user_id, "hello", number)

    async def connected(self) -> RawSocket:
        """Open a WebSocket and connect to the chat."""
        socket = await self.raw.websocket()
        assert (await socket.join(self.chat_id)).startswith('40{"sid":"')
        return socket

    async def polling(self) -> Polling:
        """Connect to the chat over polling."""
        polling = await self.raw.polling()
        assert await polling.post(connect_packet(self.chat_id)) == 200
        assert (await polling.until("40")).startswith('40{"sid":"')
        return polling

    async def get(self, query: str) -> tuple[int, str]:
        """Ask without a session."""
        async with self.raw.session.get(f"{self.house.url}{PATH}?{query}") as answer:
            return answer.status, await answer.text()

    async def websocket(self, query: str) -> RawSocket:
        """Open a WebSocket by any query."""
        return RawSocket(await self.raw.session.ws_connect(f"{self.house.url}{PATH}?{query}"))

    async def waiting_poll(self, polling: Polling) -> "asyncio.Task[list[str]]":
        """Poll until there is nothing to come; return the poll that waits."""
        while True:
            poll = asyncio.create_task(polling.poll())
            done, _ = await asyncio.wait({poll}, timeout=0.5)
            if not done:
                return poll


@pytest.fixture(params=["lean", pytest.param("upstream", marks=pytest.mark.deep)])
async def bare(house: House, nats: Broker, request: pytest.FixtureRequest) -> AsyncIterator[Bare]:
    """A server of either path."""
    options = Options(lean=request.param == "lean")
    async with build_chat(house, nats.url, options=options) as chat_house, by_hand(chat_house.url) as raw:
        chat_id, alice, _, _ = await chat_house.chat()
        yield Bare(chat_house, raw, chat_id, alice)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings come after a second and have five; before the server is built."""
    monkeypatch.setattr(server, "PING_INTERVAL_S", 1.0)
    monkeypatch.setattr(server, "PING_TIMEOUT_S", 5.0)


def acknowledged(packet: str) -> tuple[str, Any]:
    """Return an acknowledgement's kind with its number, and its `seq`."""
    start = packet.index("[")
    return packet[:start], json.loads(packet[start:])[0]["seq"]


class TestHandshake:
    async def test_polling_opens_a_session(self, bare: Bare) -> None:
        status, body = await bare.get(f"{QUERY}polling")
        assert (status, body[0]) == (200, "0")
        _check_opening(json.loads(body[1:]), ["websocket"])

    async def test_websocket_opens_a_session(self, bare: Bare) -> None:
        socket = await bare.raw.websocket()
        _check_opening(json.loads(socket.got[0][1:]), [])

    async def test_a_wrong_query_is_refused(self, bare: Bare) -> None:
        for query in ("transport=polling", "EIO=abc&transport=polling", f"{QUERY}abc"):
            assert (await bare.get(query))[0] == 400, query

    async def test_a_wrong_query_opens_no_websocket(self, bare: Bare) -> None:
        for query in ("transport=websocket", "EIO=abc&transport=websocket", "EIO=4", f"{QUERY}abc"):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await bare.websocket(query)

    async def test_a_post_opens_nothing(self, bare: Bare) -> None:
        assert await Polling(bare.raw.session, f"{bare.house.url}{PATH}?{QUERY}polling", "").post("4hello") == 400

    async def test_an_unknown_session_is_refused(self, bare: Bare) -> None:
        unknown = Polling(bare.raw.session, f"{bare.house.url}{PATH}?{QUERY}polling", "nonsense")
        assert (await unknown.post("4hello"), await unknown.poll()) == (400, [])
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await bare.websocket(f"{QUERY}websocket&sid=nonsense")

    async def test_differs_no_transport_is_polling(self, bare: Bare) -> None:
        """The suite wants 400; python-engineio takes polling for granted."""
        assert (await bare.get("EIO=4"))[0] == 200

    async def test_differs_another_method_is_405(self, bare: Bare) -> None:
        """The suite wants 400; aiohttp's router says 405 before python-engineio is asked."""
        async with bare.raw.session.put(f"{bare.house.url}{PATH}?{QUERY}polling") as answer:
            assert answer.status == 405


def _check_opening(opening: dict[str, Any], upgrades: list[str]) -> None:
    assert isinstance(opening.pop("sid"), str)
    expected = {"upgrades": upgrades, "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 65_536}
    assert opening == expected


class TestPolling:
    async def test_several_packets_in_one_payload(self, bare: Bare) -> None:
        polling = await bare.polling()
        assert await polling.post(*(bare.message(number) for number in (1, 2, 3))) == 200
        found: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < 3:
                found += [packet for packet in await polling.poll() if packet.startswith("43")]
        assert [acknowledged(packet) for packet in found] == [("431", 1), ("432", 2), ("433", 3)]

    async def test_differs_a_post_is_answered_in_capitals(self, bare: Bare) -> None:
        """The suite wants `ok`; python-engineio says `OK`, and clients do not look."""
        polling = await bare.raw.polling()
        async with polling.session.post(f"{polling.url}&sid={polling.sid}", data="3") as answer:
            assert (answer.status, await answer.text()) == (200, "OK")

    async def test_a_poll_beside_another_ends_the_session(self, bare: Bare) -> None:
        """Of two polls one may be on a wire that is dead: what it is given is lost, and nobody would know."""
        polling = await bare.polling()
        poll = await bare.waiting_poll(polling)
        assert await polling.poll() == []
        assert await asyncio.wait_for(poll, PATIENCE_S) == ["6"]
        assert await polling.post(bare.message(1)) == 400

    async def test_what_is_no_packet_ends_the_session(self, bare: Bare) -> None:
        polling = await bare.raw.polling()
        assert (await polling.post("abc"), await polling.poll()) == (400, [])

    async def test_a_body_over_the_limit_is_refused(self, bare: Bare) -> None:
        polling = await bare.raw.polling()
        assert await asyncio.wait_for(polling.post("4" + "x" * 70_000), PATIENCE_S) in (400, 413)

    async def test_a_body_that_comes_in_parts_is_read_to_its_end(self, bare: Bare) -> None:
        """A proxy sends it as it comes; upstream takes the first part for all of it."""
        polling = await bare.polling()
        async with self._half_a_post(polling, bare.message(1) + "\x1e" + bare.message(2)) as (reader, rest):
            rest()
            assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).split()[1] == b"200"
        assert acknowledged(await polling.until("432")) == ("432", 2)

    async def test_a_body_that_never_comes_to_its_end_ends_the_session(
        self, bare: Bare, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        polling = await bare.polling()
        monkeypatch.setattr(lean, "POST_S", 0.2)
        async with self._half_a_post(polling, bare.message(1)) as (reader, _):
            assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).split()[1] == b"400"
        assert await polling.post(bare.message(2)) == 400

    async def test_a_body_beside_another_ends_the_session(self, bare: Bare) -> None:
        polling = await bare.polling()
        async with self._half_a_post(polling, bare.message(1)) as (reader, rest):
            assert await polling.post(bare.message(2)) == 400
            rest()
            assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).split()[1] == b"400"
        assert await polling.poll() == []

    @contextlib.asynccontextmanager
    async def _half_a_post(
        self, polling: Polling, body: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, Callable[[], None]]]:
        """Send the first half of a body; yield what is answered, and a call that sends the other half."""
        url = URL(f"{polling.url}&sid={polling.sid}")
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            head = f"POST {url.path_qs} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            half = len(body) // 2
            writer.write((head + body[:half]).encode())
            await writer.drain()
            await asyncio.sleep(0.1)  # it is read before the rest comes; nobody tells
            yield reader, lambda: writer.write(body[half:].encode())
        finally:
            writer.close()
            await writer.wait_closed()

    async def test_an_upgrade_packet_without_a_websocket_ends_the_session(self, bare: Bare) -> None:
        """Upstream answers each, and keeps the answers for a client that may never poll."""
        polling = await bare.raw.polling()
        await polling.post("5")
        await polling.until_ended()
        assert await polling.post("3") == 400

    async def test_a_close_packet_ends_the_session(self, bare: Bare) -> None:
        polling = await bare.raw.polling()
        assert (await polling.post("1"), await polling.poll()) == (200, [])

    async def test_a_close_packet_ends_the_poll_that_is_under_way(self, bare: Bare) -> None:
        polling = await bare.polling()
        poll = await bare.waiting_poll(polling)
        assert await polling.post("1") == 200
        assert await asyncio.wait_for(poll, PATIENCE_S) == ["6"]


@pytest.mark.usefixtures("soon")
class TestHeartbeat:
    """The fixture that shortens the intervals comes first, by the mark."""

    async def test_over_websocket(self, bare: Bare) -> None:
        socket = await bare.connected()
        for _ in range(3):
            await socket.until("2")
            await socket.send("3")

    async def test_over_polling(self, bare: Bare) -> None:
        polling = await bare.polling()
        for _ in range(3):
            await polling.until("2")
            assert await polling.post("3") == 200


class TestUpgrade:
    async def test_from_polling_to_websocket(self, bare: Bare) -> None:
        _, socket = await self._upgraded(bare)
        await socket.send(bare.message(7))
        assert acknowledged(await socket.until("43")) == ("437", 1)

    async def test_the_session_takes_no_second_websocket(self, bare: Bare) -> None:
        polling, socket = await self._upgraded(bare)
        with contextlib.suppress(aiohttp.WSServerHandshakeError):
            second = await bare.raw.websocket(sid=polling.sid)
            with contextlib.suppress(ConnectionError):
                await second.send("2probe")
            await second.until_cut_off()
            assert second.got == []
        await socket.send(bare.message(8))
        assert acknowledged(await socket.until("43")) == ("438", 1)

    async def test_the_session_takes_no_poll_any_more(self, bare: Bare) -> None:
        polling, socket = await self._upgraded(bare)
        assert (await polling.poll(), await polling.post(bare.message(1))) == ([], 400)
        await socket.send(bare.message(9))
        assert acknowledged(await socket.until("43")) == ("439", 1)

    async def test_a_second_upgrade_is_cut_off_and_costs_the_first_nothing(self, bare: Bare) -> None:
        polling = await bare.polling()
        socket = await bare.raw.websocket(sid=polling.sid)
        await socket.send("2probe")
        assert await socket.next() == "3probe"
        with contextlib.suppress(aiohttp.WSServerHandshakeError):
            second = await bare.raw.websocket(sid=polling.sid)
            await second.until_cut_off()
            assert second.got == []
        await socket.send("5", bare.message(8))
        assert acknowledged(await socket.until("43")) == ("438", 1)
        [link] = bare.house.side.sockets.links
        link.socket.abort()  # of its WebSocket
        await socket.until_cut_off()

    async def test_what_is_no_probe_upgrades_nothing(self, bare: Bare) -> None:
        polling = await bare.raw.polling()
        socket = await bare.raw.websocket(sid=polling.sid)
        await socket.send("2nonsense")
        await socket.until_cut_off()
        assert socket.got == []
        assert (await polling.join(bare.chat_id))[0].startswith('40{"sid":"')

    async def _upgraded(self, bare: Bare) -> tuple[Polling, RawSocket]:
        polling = await bare.polling()
        socket = await bare.raw.websocket(sid=polling.sid)
        await socket.send("2probe")
        assert await socket.next() == "3probe"
        await socket.send("5")
        return polling, socket


class TestConnect:
    async def test_without_a_token_is_refused(self, bare: Bare) -> None:
        for auth in ("", "{}", '{"token":"nonsense"}', "[]", '"text"', "5"):
            socket = await bare.raw.websocket()
            await socket.send(f"40{auth}")
            assert json.loads((await socket.until("44"))[2:])["message"] == "authorization error", auth

    async def test_to_an_unknown_namespace_is_refused(self, bare: Bare) -> None:
        socket = await bare.raw.websocket()
        await socket.send(f'40/random,{{"token":"{bare.chat_id}"}}')
        assert (await socket.next() or "").startswith("44/random,")
        assert (await socket.join(bare.chat_id)).startswith('40{"sid":"')

    async def test_twice_ends_the_connection(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.send(connect_packet(bare.chat_id))
        await socket.until_ended()
        assert len([packet for packet in socket.got if packet.startswith("40")]) == 1

    async def test_an_event_before_it_does_nothing(self, bare: Bare) -> None:
        socket = await bare.raw.websocket()
        await socket.send(bare.message(1))
        assert (await socket.join(bare.chat_id)).startswith('40{"sid":"')
        await socket.send(bare.message(2))
        assert acknowledged(await socket.until("43")) == ("432", 1)


class TestMessages:
    async def test_an_acknowledgement_has_the_number_of_its_event(self, bare: Bare) -> None:
        socket = await bare.connected()
        for seq, number in enumerate((0, 456, 2**70), 1):
            await socket.send(bare.message(number))
            assert acknowledged(await socket.until("43")) == (f"43{number}", seq)

    async def test_an_event_without_a_number_is_not_acknowledged(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.send(bare.message(), bare.message(5))
        assert acknowledged(await socket.until("43")) == ("435", 2)

    async def test_what_is_malformed_ends_the_connection(self, bare: Bare) -> None:
        for name, packet in MALFORMED.items():
            socket = await bare.connected()
            await socket.send(packet)
            await socket.until_ended()
            assert not [got for got in socket.got if got.startswith("43")], name


class TestClosing:
    async def test_a_close_packet_ends_a_websocket(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.send("1")
        await socket.until_cut_off()

    async def test_a_disconnect_leaves_the_chat_and_keeps_the_connection(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.send("41")
        await socket.send(connect_packet(bare.chat_id))
        await socket.until("40")
        await socket.send(bare.message(3))
        assert acknowledged(await socket.until("43")) == ("433", 1)

    async def test_the_code_of_a_websocket_close_is_answered(self, bare: Bare) -> None:
        socket = await bare.connected()
        assert await socket.ws.close(code=1000)
        assert socket.ws.close_code == 1000
