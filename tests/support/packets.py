"""Connections to a chat by hand: each packet as a test wants it, over a WebSocket or by polling."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PATH = "/socket.io/"
SEPARATOR = "\x1e"
WAIT_S = 10.0


def connect_packet(token: Any, **auth: Any) -> str:
    """Return the packet that asks for the namespace."""
    return "40" + json.dumps({"token": token} | auth)


def message_packet(user_id: int | None, text: str, number: int | str = "", **more: Any) -> str:
    """Return a `message` event."""
    return f"42{number}" + json.dumps(["message", {"user_id": user_id, "message": text} | more])


@dataclass(slots=True)
class RawSocket:
    """A WebSocket that speaks Engine.IO only as far as a test does; pings are answered by nobody."""

    ws: aiohttp.ClientWebSocketResponse
    got: list[str] = field(default_factory=list)

    async def send(self, *packets: str | bytes) -> None:
        """Send packets, each in a frame."""
        for packet in packets:
            if isinstance(packet, str):
                await self.ws.send_str(packet)
            else:
                await self.ws.send_bytes(packet)

    async def next(self) -> str | None:
        """Return the next packet, or None when the connection has ended."""
        async with asyncio.timeout(WAIT_S):
            while (message := await self.ws.receive()).type is aiohttp.WSMsgType.PONG:
                pass
        if message.type is not aiohttp.WSMsgType.TEXT:
            return None
        self.got.append(message.data)
        return str(message.data)

    async def until(self, start: str) -> str:
        """Return the next packet that starts so."""
        while (packet := await self.next()) is not None:
            if packet.startswith(start):
                return packet
        raise AssertionError(f"the connection ended before {start!r}: {self.got}")

    async def until_ended(self) -> None:
        """Return when the server has ended the connection, or has said so and waits for the client to do it."""
        while await self.next() not in (None, "1"):
            pass

    async def until_cut_off(self) -> None:
        """Return when the server has closed the connection itself."""
        while await self.next() is not None:
            pass

    def _transport(self) -> asyncio.Transport:
        transport = self.ws._conn.transport if self.ws._conn is not None else None
        assert isinstance(transport, asyncio.Transport)
        return transport

    def pause(self) -> None:
        """Read nothing for a while: what the server sends fills the buffers between."""
        self._transport().pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._transport().resume_reading()

    async def join(self, token: Any, **auth: Any) -> str:
        """Ask for the namespace and return the answer."""
        await self.send(connect_packet(token, **auth))
        return await self.until("4")


@dataclass(slots=True)
class Polling:
    """A client that polls, each request as a test wants it."""

    session: aiohttp.ClientSession
    url: str
    sid: str

    async def post(self, *packets: str) -> int:
        """Post packets in one body; return the status."""
        async with self.session.post(f"{self.url}&sid={self.sid}", data=SEPARATOR.join(packets)) as answer:
            return answer.status

    async def poll(self) -> list[str]:
        """Return what the server has for it; `["1"]` or nothing when the connection has ended."""
        async with self.session.get(f"{self.url}&sid={self.sid}") as answer:
            text = await answer.text()
            return text.split(SEPARATOR) if answer.status == 200 else []

    async def join(self, token: Any) -> list[str]:
        """Ask for the namespace and return the answer."""
        assert await self.post(connect_packet(token)) == 200
        return await self.poll()

    async def until(self, start: str) -> str:
        """Return the next packet that starts so; what came with it is dropped."""
        async with asyncio.timeout(WAIT_S):
            while packets := await self.poll():
                for packet in packets:
                    if packet.startswith(start):
                        return packet
        raise AssertionError(f"the connection ended before {start!r}")

    async def until_ended(self) -> None:
        """Return when the server has ended the connection."""
        async with asyncio.timeout(WAIT_S):
            while (packets := await self.poll()) and "1" not in packets:
                pass


@dataclass(slots=True)
class Raw:
    """Opens connections by hand."""

    url: str
    session: aiohttp.ClientSession

    async def websocket(self, *, sid: str = "", deflate: bool = False, address: str = "") -> RawSocket:
        """Open a WebSocket; with `sid` it is the one that a polling client upgrades to.

        Args:
            deflate: offer permessage-deflate, as browsers do.
            address: what a proxy says where the client is.
        """
        query = {"EIO": "4", "transport": "websocket"} | ({"sid": sid} if sid else {})
        ws = await self.session.ws_connect(
            self.url + PATH, params=query, compress=15 if deflate else 0, headers=_headers(address), autoping=False
        )
        raw = RawSocket(ws)
        if not sid:
            assert (await raw.next() or "")[:1] == "0"
        return raw

    async def polling(self, address: str = "") -> Polling:
        """Open a connection that polls."""
        url = f"{self.url}{PATH}?EIO=4&transport=polling"
        async with self.session.get(url, headers=_headers(address)) as answer:
            opening = await answer.text()
            assert (answer.status, opening[:1]) == (200, "0"), opening
            return Polling(self.session, url, json.loads(opening[1:])["sid"])

    async def refusal(self, transport: str = "polling", address: str = "") -> tuple[int, str, dict[str, Any]]:
        """Open a connection that is refused; return the status, the content type and the body."""
        query = {"EIO": "4", "transport": transport}
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"} if transport == "websocket" else {}
        headers = {**_headers(address), **upgrade}
        async with self.session.get(self.url + PATH, params=query, headers=headers) as answer:
            return answer.status, answer.content_type, await answer.json(content_type=None)


def _headers(address: str) -> Mapping[str, str]:
    return {"X-Forwarded-For": address} if address else {}


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[Raw]:
    """Open connections to a chat by hand; all are closed at the end."""
    async with aiohttp.ClientSession() as session:
        yield Raw(url, session)
