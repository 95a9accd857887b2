"""The checks of the official suites of Engine.IO v4 and Socket.IO v5 that matter here, over bare sockets.

They are those of github.com/socketio/engine.io-protocol and socket.io-protocol (`test-suite/test-suite.js`), with a
message of the chat in place of the suites' echo, on the lean path and on python-engineio's own. Where python-engineio
answers otherwise than the suites want, or the chat means to, the test says `differs` and why.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from chat.api import server
from chat.api.app import Options
from garant_local.nats import Nats
from support.chatting import ChatHouse, build_chat
from support.house import House

PATIENCE_S = 10
QUERY = "EIO=4&transport="
ENDED = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


UNMENDED = pytest.mark.xfail(strict=True, reason="python-engineio waits for a poll that does not come")
MALFORMED = {
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
    "differs: a binary event": '451-["message",{"_placeholder":true,"num":0}]',
    "differs: a binary acknowledgement": '461-1["message",{"_placeholder":true,"num":0}]',
}


@dataclass(slots=True)
class Bare:
    """A chat, and an HTTP client that knows nothing of Socket.IO."""

    house: ChatHouse
    http: aiohttp.ClientSession
    chat_id: str
    user_id: int

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"{self.house.url}/socket.io/"

    @property
    def connecting(self) -> str:
        """CONNECT with a token that is right."""
        return f'40{{"token":"{self.chat_id}"}}'

    def message(self, number: int | str = "", text: str = "hello") -> str:
        """Return a message of the chat; with a number, it is to be acknowledged."""
        return f"42{number}" + json.dumps(["message", {"user_id": self.user_id, "message": text}])

    async def socket(self, query: str = f"{QUERY}websocket") -> "Socket":
        """Open a WebSocket."""
        return Socket(await self.http.ws_connect(f"{self.url}?{query}"))

    async def opened(self) -> "Socket":
        """Open a WebSocket and read the handshake."""
        socket = await self.socket()
        assert (await socket.packet())[0] == "0"
        return socket

    async def connected(self) -> "Socket":
        """Open a WebSocket and connect to the chat."""
        socket = await self.opened()
        await socket.send(self.connecting)
        assert (await socket.packet()).startswith('40{"sid":"')
        return socket

    async def polling(self) -> str:
        """Open a session over polling; return its query."""
        status, body = await self.get(f"{QUERY}polling")
        assert (status, body[0]) == (200, "0")
        return f"{QUERY}polling&sid={json.loads(body[1:])['sid']}"

    async def get(self, query: str) -> tuple[int, str]:
        """Poll."""
        async with self.http.get(f"{self.url}?{query}") as answer:
            return answer.status, await answer.text()

    async def post(self, query: str, body: str) -> tuple[int, str]:
        """Post packets."""
        async with self.http.post(f"{self.url}?{query}", data=body) as answer:
            return answer.status, await answer.text()

    async def waiting_poll(self, query: str) -> "asyncio.Task[tuple[int, str]]":
        """Poll until there is nothing to come; return the poll that waits."""
        while True:
            poll = asyncio.create_task(self.get(query))
            done, _ = await asyncio.wait({poll}, timeout=0.5)
            if not done:
                return poll

    async def until(self, query: str, kind: str) -> str:
        """Poll until a packet of this kind comes; return it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status, body = await self.get(query)
                assert status == 200, body
                for packet in body.split("\x1e"):
                    if packet.startswith(kind):
                        return packet


@dataclass(slots=True)
class Socket:
    """A WebSocket."""

    ws: aiohttp.ClientWebSocketResponse

    async def send(self, text: str) -> None:
        """Send a text message."""
        await self.ws.send_str(text)

    async def packet(self) -> str:
        """Return the next packet."""
        message = await self.ws.receive(PATIENCE_S)
        assert message.type is WSMsgType.TEXT, message
        return str(message.data)

    async def until(self, kind: str) -> str:
        """Return the next packet of a kind."""
        async with asyncio.timeout(PATIENCE_S):
            while not (packet := await self.packet()).startswith(kind):
                pass
        return packet

    async def until_closed(self) -> list[str]:
        """Return what comes until the server ends the connection."""
        packets = []
        async with asyncio.timeout(PATIENCE_S):
            while (message := await self.ws.receive()).type not in ENDED:
                packets.append(message.data)
        return packets


@pytest.fixture(params=["lean", pytest.param("upstream", marks=pytest.mark.deep)])
async def bare(house: House, nats: Nats, request: pytest.FixtureRequest) -> AsyncIterator[Bare]:
    """A server of either path."""
    async with (
        build_chat(house, nats.url, options=Options(lean=request.param == "lean")) as chat_house,
        aiohttp.ClientSession() as http,
    ):
        chat_id, alice, _, _ = await chat_house.chat()
        yield Bare(chat_house, http, chat_id, alice)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings and their time-out come after a second, before the server is built."""
    monkeypatch.setattr(server, "PING_INTERVAL_S", 1.0)
    monkeypatch.setattr(server, "PING_TIMEOUT_S", 1.0)
    monkeypatch.setattr(server, "CONNECT_S", 1.0)


class TestHandshake:
    async def test_polling_opens_a_session(self, bare: Bare) -> None:
        status, body = await bare.get(f"{QUERY}polling")
        assert (status, body[0]) == (200, "0")
        _check_opening(json.loads(body[1:]), ["websocket"])

    async def test_websocket_opens_a_session(self, bare: Bare) -> None:
        packet = await (await bare.socket()).packet()
        assert packet[0] == "0"
        _check_opening(json.loads(packet[1:]), [])

    async def test_a_wrong_query_is_refused(self, bare: Bare) -> None:
        for query in ("transport=polling", "EIO=abc&transport=polling", f"{QUERY}abc"):
            assert (await bare.get(query))[0] == 400, query

    async def test_a_wrong_query_opens_no_websocket(self, bare: Bare) -> None:
        for query in ("transport=websocket", "EIO=abc&transport=websocket", "EIO=4", f"{QUERY}abc"):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await bare.socket(query)

    async def test_a_post_opens_nothing(self, bare: Bare) -> None:
        assert (await bare.post(f"{QUERY}polling", "4hello"))[0] == 400

    async def test_differs_no_transport_is_polling(self, bare: Bare) -> None:
        """The suite wants 400; python-engineio takes polling for granted."""
        assert (await bare.get("EIO=4"))[0] == 200

    async def test_differs_another_method_is_405(self, bare: Bare) -> None:
        """The suite wants 400; aiohttp's router says 405 before python-engineio is asked."""
        async with bare.http.put(f"{bare.url}?{QUERY}polling") as answer:
            assert answer.status == 405


def _check_opening(opening: dict[str, Any], upgrades: list[str]) -> None:
    assert opening.keys() == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
    assert isinstance(opening["sid"], str)
    expected = (upgrades, 25_000, 20_000, 65_536)
    found = tuple(opening[name] for name in ("upgrades", "pingInterval", "pingTimeout", "maxPayload"))
    assert found == expected


class TestPolling:
    async def test_one_packet_and_several_in_one_payload(self, bare: Bare) -> None:
        query = await bare.polling()
        assert (await bare.post(query, bare.connecting))[0] == 200
        assert (await bare.until(query, "40")).startswith('40{"sid":"')
        payload = "\x1e".join(bare.message(number) for number in (1, 2, 3))
        assert await bare.post(query, payload) == (200, "OK")  # the suite wants "ok"; clients do not look
        acknowledged: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(acknowledged) < 3:
                _, body = await bare.get(query)
                acknowledged += [packet for packet in body.split("\x1e") if packet.startswith("43")]
        assert [(packet[:3], json.loads(packet[3:])[0]["seq"]) for packet in acknowledged] == [
            ("431", 1),
            ("432", 2),
            ("433", 3),
        ]

    @UNMENDED
    async def test_what_is_no_packet_ends_the_session(self, bare: Bare) -> None:
        query = await bare.polling()
        assert (await bare.post(query, "abc"))[0] == 400
        assert (await bare.get(query))[0] == 400

    async def test_an_unknown_session_is_refused(self, bare: Bare) -> None:
        assert (await bare.get(f"{QUERY}polling&sid=nonsense"))[0] == 400
        assert (await bare.post(f"{QUERY}polling&sid=nonsense", "4hello"))[0] == 400
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await bare.socket(f"{QUERY}websocket&sid=nonsense")

    @UNMENDED
    async def test_a_body_over_the_limit_is_refused(self, bare: Bare) -> None:
        query = await bare.polling()
        status, _ = await asyncio.wait_for(bare.post(query, "4" + "x" * 70_000), PATIENCE_S)
        assert status in (400, 413)

    async def test_a_close_packet_ends_the_session(self, bare: Bare) -> None:
        query = await bare.polling()
        assert (await bare.post(query, "1"))[0] == 200
        assert (await bare.get(query))[0] == 400

    @UNMENDED
    async def test_a_close_packet_ends_the_poll_that_is_under_way(self, bare: Bare) -> None:
        query = await bare.polling()
        await bare.post(query, bare.connecting)
        await bare.until(query, "40")
        poll = await bare.waiting_poll(query)
        assert (await bare.post(query, "1"))[0] == 200
        assert await asyncio.wait_for(poll, PATIENCE_S) == (200, "6")


@pytest.mark.usefixtures("soon")
class TestHeartbeat:
    """The fixture that shortens the intervals comes first, by the mark."""

    async def test_over_websocket(self, bare: Bare) -> None:
        socket = await bare.connected()
        for _ in range(3):
            await socket.until("2")
            await socket.send("3")

    async def test_over_polling(self, bare: Bare) -> None:
        query = await bare.polling()
        await bare.post(query, bare.connecting)
        for _ in range(3):
            await bare.until(query, "2")
            assert (await bare.post(query, "3"))[0] == 200

    async def test_silence_ends_a_websocket(self, bare: Bare) -> None:
        socket = await bare.connected()
        assert "2" in await socket.until_closed()

    async def test_silence_ends_a_polling_session(self, bare: Bare) -> None:
        query = await bare.polling()
        await bare.post(query, bare.connecting)
        async with asyncio.timeout(PATIENCE_S):
            while (await bare.get(query))[0] == 200:
                pass

    async def test_who_never_connects_to_the_namespace_is_let_go(self, bare: Bare) -> None:
        socket = await bare.opened()

        async def answer_pings() -> list[str]:
            packets = []
            while (message := await socket.ws.receive()).type not in ENDED:
                packets.append(message.data)
                if message.data == "2":
                    await socket.send("3")
            return packets

        assert not [p for p in await asyncio.wait_for(answer_pings(), PATIENCE_S) if p.startswith("4")]


class TestUpgrade:
    async def test_from_polling_to_websocket(self, bare: Bare) -> None:
        _, socket = await self._upgraded(bare)
        await socket.send(bare.message(7))
        assert json.loads((await socket.until("437["))[3:])[0]["seq"] == 1

    async def test_the_session_takes_no_second_websocket(self, bare: Bare) -> None:
        query, socket = await self._upgraded(bare)
        with contextlib.suppress(aiohttp.WSServerHandshakeError):
            second = await bare.socket(query.replace("polling", "websocket"))
            with contextlib.suppress(ConnectionError):
                await second.send("2probe")
            assert await second.until_closed() == []
        await socket.send(bare.message(8))
        assert json.loads((await socket.until("438["))[3:])[0]["seq"] == 1

    async def test_the_session_takes_no_poll_any_more(self, bare: Bare) -> None:
        query, socket = await self._upgraded(bare)
        assert (await bare.get(query))[0] == 400
        assert (await bare.post(query, bare.message(1)))[0] == 400
        await socket.send(bare.message(9))
        assert json.loads((await socket.until("439["))[3:])[0]["seq"] == 1

    async def test_what_is_no_probe_upgrades_nothing(self, bare: Bare) -> None:
        query = await bare.polling()
        socket = await bare.socket(query.replace("polling", "websocket"))
        await socket.send("2nonsense")
        assert await socket.until_closed() == []
        await bare.post(query, bare.connecting)
        assert (await bare.until(query, "40")).startswith('40{"sid":"')

    async def _upgraded(self, bare: Bare) -> tuple[str, Socket]:
        query = await bare.polling()
        await bare.post(query, bare.connecting)
        await bare.until(query, "40")
        socket = await bare.socket(query.replace("polling", "websocket"))
        await socket.send("2probe")
        assert await socket.packet() == "3probe"
        await socket.send("5")
        return query, socket


class TestConnect:
    async def test_to_the_chat(self, bare: Bare) -> None:
        socket = await bare.opened()
        await socket.send(bare.connecting)
        packet = await socket.packet()
        assert packet[:2] == "40"
        assert isinstance(json.loads(packet[2:])["sid"], str)

    async def test_without_a_token_is_refused(self, bare: Bare) -> None:
        for auth in ("", "{}", '{"token":"nonsense"}', "[]", '"text"', "5"):
            socket = await bare.opened()
            await socket.send(f"40{auth}")
            packet = await socket.packet()
            assert packet[:2] == "44", auth
            assert json.loads(packet[2:])["message"] == "authorization error"

    async def test_to_an_unknown_namespace_is_refused(self, bare: Bare) -> None:
        socket = await bare.opened()
        await socket.send(f'40/random,{{"token":"{bare.chat_id}"}}')
        assert (await socket.packet()).startswith("44/random,")
        await socket.send(bare.connecting)
        assert (await socket.packet()).startswith('40{"sid":"')

    async def test_twice_ends_the_connection(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.send(bare.connecting)
        assert not [p for p in await socket.until_closed() if p.startswith("40")]

    async def test_an_event_before_it_does_nothing(self, bare: Bare) -> None:
        socket = await bare.opened()
        await socket.send(bare.message(1, "too early"))
        await socket.send(bare.connecting)
        assert (await socket.packet()).startswith('40{"sid":"')
        await socket.send(bare.message(2))
        assert json.loads((await socket.until("432["))[3:])[0]["seq"] == 1


class TestMessages:
    async def test_an_acknowledgement_has_the_number_of_its_event(self, bare: Bare) -> None:
        socket = await bare.connected()
        for number in (0, 456, 2**70):
            await socket.send(bare.message(number))
            assert (await socket.until("43")).startswith(f"43{number}[{{")

    async def test_an_event_without_a_number_is_not_acknowledged(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.send(bare.message())
        await socket.send(bare.message(5))
        assert (await socket.until("43")).startswith("435[")

    async def test_what_is_malformed_ends_the_connection(self, bare: Bare) -> None:
        survived = []
        for name, packet in MALFORMED.items():
            socket = await bare.connected()
            await socket.send(packet)
            packets = await socket.until_closed()
            survived += [name for p in packets if p.startswith("43")]
        assert survived == []

    async def test_a_binary_message_ends_the_connection(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.ws.send_bytes(b"\x01\x02")
        await socket.until_closed()

    async def test_a_websocket_ping_is_answered(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.ws.ping(b"are you there?")
        await socket.send(bare.message(1))
        assert (await socket.until("431[")).startswith("431[")


class TestClosing:
    async def test_a_close_packet_ends_a_websocket(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.send("1")
        await socket.until_closed()

    async def test_a_disconnect_leaves_the_chat_and_keeps_the_connection(self, bare: Bare) -> None:
        socket = await bare.connected()
        await socket.send("41")
        await socket.send(bare.connecting)
        assert (await socket.until("40")).startswith('40{"sid":"')
        await socket.send(bare.message(3))
        assert (await socket.until("433[")).startswith("433[")

    async def test_the_code_of_a_websocket_close_is_answered(self, bare: Bare) -> None:
        socket = await bare.connected()
        assert await socket.ws.close(code=1000)
        assert socket.ws.close_code == 1000
