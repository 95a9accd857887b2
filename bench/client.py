"""A lean HTTP/1.1 client: one keep-alive connection, one request at a time, as little Python as possible.

A client such as httpx costs more than the servers it would measure, and here both share the machine's cores.
"""

import asyncio
from typing import cast

MAX_ANSWER_BYTES = 1 << 24


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def connect(cls, port: int) -> "Caller":
        """Connect to a server on loopback."""
        async with asyncio.timeout(5):
            _, caller = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return caller

    async def call(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; return the answer's status and body.

        Raises:
            ConnectionError: when the server closes the connection instead of answering.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._buffer += data
        assert len(self._buffer) < MAX_ANSWER_BYTES
        head_ends = self._buffer.find(b"\r\n\r\n")
        if head_ends < 0 or self._answer is None or self._answer.done():
            return
        ends = head_ends + 4 + _content_length(bytes(self._buffer[:head_ends]))
        if len(self._buffer) >= ends:
            status, body = int(self._buffer[9:12]), bytes(self._buffer[head_ends + 4 : ends])
            del self._buffer[:ends]
            self._answer.set_result((status, body))


def _content_length(head: bytes) -> int:
    found = head.lower().find(b"\r\ncontent-length:")
    if found < 0:
        assert head[9:12] == b"204", f"an answer without a length: {head!r}"
        return 0
    return int(head[found + 17 :].split(b"\r\n", 1)[0])


def request(method: str, path: str, credential: str, body: str = "") -> bytes:
    """Write a request."""
    content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {credential}\r\n{content}\r\n{body}"
    ).encode()
