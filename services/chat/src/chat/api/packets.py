"""Packets as bytes, built once and written to each client.

A payload is an Engine.IO message (`4`) that carries a Socket.IO packet: an event (`2`) or an acknowledgement (`3`)
in the default namespace. A frame is a payload as an unmasked WebSocket text message (RFC 6455, 5.2).
"""

from collections.abc import Sequence
from typing import Any

import engineio
import orjson


def frame(payload: bytes) -> bytes:
    """Return a text message in one frame, as a server sends it."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


class Packet:
    """One packet, in the forms that the transports want.

    Args:
        payload: an Engine.IO message in UTF-8, with its type in front.
    """

    __slots__ = ("_frame", "_queued", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self._frame: bytes | None = None
        self._queued: Any = None

    @property
    def frame(self) -> bytes:
        """The packet for a WebSocket that is written to at once."""
        if self._frame is None:
            self._frame = frame(self.payload)
        return self._frame

    @property
    def queued(self) -> Any:
        """The packet for a queue of python-engineio."""
        if self._queued is None:
            text = self.payload[1:].decode()
            self._queued = engineio.packet.Packet(engineio.packet.MESSAGE, text)
        return self._queued


class Bundle:
    """Packets that are sent together, in their order: each transport's form of all is made once."""

    __slots__ = ("_frames", "packets", "size")

    def __init__(self, packets: Sequence[Packet]) -> None:
        self.packets = packets
        self.size = sum(len(packet.payload) for packet in packets)
        self._frames: bytes | None = None

    @property
    def frames(self) -> bytes:
        """All frames, in one piece."""
        if self._frames is None:
            self._frames = b"".join([packet.frame for packet in self.packets])
        return self._frames


def event(name: str, body: bytes) -> Packet:
    """Return an event with one argument, which is JSON already."""
    return Packet(b'42["%b",%b]' % (name.encode(), body))


def acknowledgement(number: int, body: object) -> Packet:
    """Return the answer to the event that the client gave this number."""
    return Packet(b"43%d[%b]" % (number, orjson.dumps(body)))
