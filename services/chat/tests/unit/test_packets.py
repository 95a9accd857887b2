"""Packets as bytes, read by another's WebSocket and Socket.IO implementations."""

import pytest
import socketio
from wsproto.frame_protocol import FrameProtocol, Opcode

from chat.api.packets import Bundle, Packet, acknowledgement, event, frame


def read(frames: bytes) -> list[str]:
    """Return the text messages in what a server sends."""
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(frames)
    found = list(protocol.received_frames())
    assert all(one.opcode is Opcode.TEXT and one.frame_finished and one.message_finished for one in found)
    return [str(one.payload) for one in found]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70_000])
def test_a_frame_of_every_length_is_read_by_another(size: int) -> None:
    payload = "x" * size

    assert read(frame(payload.encode()) + frame(b"next")) == [payload, "next"]


def test_a_bundle_is_its_packets_in_their_order() -> None:
    packets = [event("message", b'{"seq":1}'), acknowledgement(7, {"id": 5}), Packet(b"4" + b"y" * 200)]
    bundle = Bundle(packets)

    assert read(bundle.frames) == ['42["message",{"seq":1}]', '437[{"id":5}]', "4" + "y" * 200]
    assert bundle.size == sum(len(packet.payload) for packet in packets)


def test_packets_are_what_socketio_reads_on_both_paths() -> None:
    for packet, kind, number, data in (
        (event("system", '{"type":"ü"}'.encode()), socketio.packet.EVENT, None, ["system", {"type": "ü"}]),
        (acknowledgement(0, {"error": "rate_limited"}), socketio.packet.ACK, 0, [{"error": "rate_limited"}]),
    ):
        assert packet.queued.encode() == packet.payload.decode() == read(packet.frame)[0]
        told = socketio.packet.Packet(encoded_packet=packet.queued.data)
        assert (told.packet_type, told.id, told.data) == (kind, number, data)
