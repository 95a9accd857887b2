"""Socket.IO v5 over Engine.IO v4 over WebSocket on a bare asyncio protocol: some microseconds a frame.

A client such as python-socketio's costs more than the servers it would measure, and here both share the machine's
cores. What enters: bytes of the server. What leaves: `event` and `acknowledged` with a packet as it came.
"""

import asyncio
import base64
import os
import struct
import zlib
from typing import cast

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
OPEN_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 5.0


class Refused(Exception):
    """The server answered CONNECT with CONNECT_ERROR; the text holds its words."""


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Write a client's frame. A mask of zeros is allowed and leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, 0x80 | size, 0, 0, 0, 0)) + payload
    return struct.pack("!BBHxxxx", 0x80 | opcode, 0xFE, size) + payload


class Connection(asyncio.Protocol):
    """One connection on the default namespace.

    Args:
        port: where the server listens on loopback.
        auth: the object that goes with CONNECT, as JSON; None connects to no namespace.
        address: our own address, of 127.0.0.0/8, so that a client can be somebody else.
        deflate: whether permessage-deflate is offered, as browsers do.
    """

    def __init__(self, port: int, auth: bytes | None, address: str, *, deflate: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._port, self._auth, self._address, self._deflate = port, auth, address, deflate
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._deflated = False
        self._buffer = bytearray()
        self._upgraded = False
        self._transport: asyncio.Transport | None = None

    async def open(self) -> None:
        """Connect, and wait until the server said yes.

        Raises:
            Refused: when it said no.
            ConnectionError: when it closed the connection instead.
        """
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await asyncio.get_running_loop().create_connection(
                lambda: self, "127.0.0.1", self._port, local_addr=(self._address, 0)
            )
            await self.ready

    def write(self, frames: bytes) -> None:
        """Send frames, unless the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)

    @property
    def unsent(self) -> int:
        """The bytes that the server has not read yet, as far as they wait here."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    async def close(self) -> None:
        """Leave as a client does, and wait until the server has closed the connection."""
        self.write(frame(b"41") + frame(b"\x03\xe8", CLOSE))
        try:
            await asyncio.wait_for(asyncio.shield(self.closed), CLOSE_TIMEOUT_S)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def event(self, packet: bytes) -> None:
        """Take an event, `42[…]`."""

    def acknowledged(self, packet: bytes) -> None:
        """Take an acknowledgement, `43<id>[…]`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        key = base64.b64encode(os.urandom(16)).decode()
        offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if self._deflate else ""
        self._transport.write(
            (
                f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"{offer}Sec-WebSocket-Key: {key}\r\n\r\n"
            ).encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._fail(exc or ConnectionError("closed before CONNECT was answered"))
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        buffer = self._buffer
        buffer += data
        if not self._upgraded and not self._read_head():
            return
        at, size = 0, len(buffer)
        while size - at >= 2:
            length, begins = buffer[at + 1], at + 2
            if length == 126:
                length, begins = int.from_bytes(buffer[at + 2 : at + 4]), at + 4
            elif length == 127:
                length, begins = int.from_bytes(buffer[at + 2 : at + 10]), at + 10
            if size < begins + length:
                break
            self._take(buffer[at], bytes(buffer[begins : begins + length]))
            at = begins + length
        del buffer[:at]

    def _read_head(self) -> bool:
        ends = self._buffer.find(b"\r\n\r\n")
        if ends < 0:
            return False
        head = bytes(self._buffer[:ends]).lower()
        del self._buffer[: ends + 4]
        if not head.startswith(b"http/1.1 101"):
            self._fail(ConnectionError(head[:100].decode("latin1")))
            self.abort()
            return False
        self._upgraded, self._deflated = True, b"permessage-deflate" in head
        return True

    def _take(self, first: int, payload: bytes) -> None:
        """Take a frame; servers send none in parts."""
        opcode = first & 0x0F
        if opcode == TEXT:
            if self._deflated and first & 0x40:
                payload = self._inflate.decompress(payload + b"\0\0\xff\xff")
            self._packet(payload)
        elif opcode == PING:
            self.write(frame(payload, PONG))
        elif opcode == CLOSE and self._transport is not None:
            self._transport.close()

    def _packet(self, packet: bytes) -> None:
        kind = packet[:2]
        if kind == b"42":
            self.event(packet)
        elif kind == b"43":
            self.acknowledged(packet)
        elif packet == b"2":
            self.write(frame(b"3"))
        elif kind == b"40":
            if not self.ready.done():
                self.ready.set_result(None)
        elif kind == b"44":
            self._fail(Refused(packet[2:].decode()))
        elif kind[:1] == b"0":
            if self._auth is not None:
                self.write(frame(b"40" + self._auth))
            elif not self.ready.done():
                self.ready.set_result(None)
        elif kind in (b"41", b"1"):
            self.abort()

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # nobody may be waiting for it any more
