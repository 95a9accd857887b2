"""What `chat.api.lean`, `chat.api.engine` and `chat.api.server` override, copy or rely on in the libraries has the shape they know.

When this fails, a library was updated. Read what changed there, carry it over where our copy needs it, run the
tests of the chat and `make bench-chat`, and only then write the new version or digest here.
"""

import hashlib
import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Any

import aiohttp.base_protocol
import engineio
import pytest
import socketio
from aiohttp import web
from engineio import async_socket, base_server, base_socket, payload
from engineio.async_drivers.aiohttp import WebSocket as WS
from socketio import base_manager
from socketio.async_manager import AsyncManager

from chat.api.engine import Engine
from chat.api.lean import LeanSocket, PlainWebSocket, Socket
from chat.api.server import Server

VERSIONS = {"python-socketio": "5.18", "python-engineio": "4.15", "aiohttp": "3.14"}

ADVICE = (
    "{name} is not what chat.api.lean, chat.api.engine and chat.api.server were written for. Compare it with the version before, "
    "carry over what matters, run services/chat/tests and `make bench-chat`; then note {found!r} in {file}. "
    "Until then CHAT_LEAN=false turns most of what was copied off."
)

Source = Callable[..., Any]

EIO, SOCKET, SIO = engineio.AsyncServer, async_socket.AsyncSocket, socketio.AsyncServer

OVERRIDDEN: dict[Source, str] = {
    EIO.handle_request: "1a8c878e3516",
    EIO._handle_connect: "5bd7edc1d1ae",
    SOCKET.poll: "826f58a9f360",
    SOCKET._upgrade_websocket: "820b83efe96a",
    SOCKET._websocket_handler: "27f120df4d71",
    SOCKET.receive: "a91ae36ec2fb",
    SOCKET.send: "0437276ccba7",
    SOCKET.close: "faa2e9390254",
    SOCKET.schedule_ping: "fe316639159c",
    SOCKET.handle_post_request: "82dca119a261",
    WS.__call__: "71f9a94476d7",
    WS.wait: "992c37091767",
    SIO._handle_connect: "c97c480cf777",
    SIO._handle_eio_connect: "76704886d944",
    SIO._handle_eio_message: "bef50fc0e163",
    SIO._handle_eio_disconnect: "9344593148b6",
    SIO._engineio_server_class: "199c42bf1492",
}
"""What a method of ours replaces, each with the digest of its source."""

RELIED_ON: dict[Source, str] = {
    base_server.BaseServer.__init__: "a06b17502fbd",
    EIO._service_task: "b6358bda51d0",
    EIO._trigger_event: "4a09b6e47eb6",
    EIO.disconnect: "8bb6448caae4",
    base_socket.BaseSocket.__init__: "8532b631a4dc",
    SOCKET._send_ping: "67db82a704ea",
    SOCKET.check_ping_timeout: "77616d5ca780",
    SOCKET.handle_get_request: "05eaae9f0a60",
    payload.Payload.decode: "9c7975664d81",
    WS.close: "47a4e4b935d2",
    WS.send: "9acf5561b663",
    SIO.__init__: "7ae671981d87",
    SIO._handle_disconnect: "c0b32ada5b37",
    SIO._trigger_event: "01ba90cfa09b",
    base_manager.BaseManager.pre_connect: "bfdba4c0c8f1",
    AsyncManager.disconnect: "88bed2cbade0",
    web.WebSocketResponse.prepare: "bd6bf6c6d410",
    web.WebSocketResponse._pre_start: "da55c0d7d844",
    web.WebSocketResponse.receive: "7ba90b3668b0",
    aiohttp.base_protocol.BaseProtocol._drain_helper: "43a2da08aabc",
    aiohttp.base_protocol.BaseProtocol.resume_writing: "7db135e0841e",
}
"""What ours calls, or what calls ours, in an order that matters."""


def name_of(source: Source) -> str:
    return f"{source.__module__}.{source.__qualname__}"


@pytest.mark.parametrize("package", VERSIONS)
def test_the_versions_are_those_it_was_written_for(package: str) -> None:
    found = importlib.metadata.version(package)

    assert found.rpartition(".")[0] == VERSIONS[package], ADVICE.format(name=package, found=found, file=__file__)


@pytest.mark.parametrize("source", OVERRIDDEN | RELIED_ON, ids=name_of)
def test_what_is_overridden_or_relied_on_has_not_changed(source: Source) -> None:
    found = hashlib.sha256(inspect.getsource(source).encode()).hexdigest()[:12]

    expected = (OVERRIDDEN | RELIED_ON)[source]
    assert found == expected, ADVICE.format(name=name_of(source), found=found, file=__file__)


def test_every_method_of_theirs_that_ours_replaces_is_watched() -> None:
    watched = {source.__name__ for source in OVERRIDDEN}
    for ours, theirs in (
        (Engine, EIO),
        (Server, SIO),
        (Socket, SOCKET),
        (LeanSocket, SOCKET),
        (PlainWebSocket, WS),
    ):
        replaced = {
            name for name, value in vars(ours).items() if inspect.isfunction(value) and hasattr(theirs, name)
        }
        assert replaced - {"__init__"} <= watched, f"{ours.__name__} replaces more of {name_of(theirs)}"
