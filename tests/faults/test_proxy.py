"""The fault proxy does what its faults say: what the server saw and what the client heard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from support.proxy import Fault, FaultProxy, fault_proxy, is_whole
from support.waiting import eventually

REQUEST = b"POST /x HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(slots=True)
class Server:
    """Answers each whole request, and remembers it."""

    seen: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = b""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(1000):
                request += chunk
                if is_whole(request):
                    self.seen.append(request)
                    request = b""
                    writer.write(ANSWER)
        writer.close()

    async def requests(self) -> int:
        return len(self.seen)


Wired = tuple[FaultProxy, Server]


@pytest.fixture
async def wired() -> AsyncIterator[Wired]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with fault_proxy(listener.sockets[0].getsockname()[1]) as proxy:
        yield proxy, server
    listener.close()


async def ask(proxy: FaultProxy, timeout: float = 5) -> bytes | None:
    """Send a request in two pieces; return the answer, empty where the wire was cut, None where nothing came."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(REQUEST[:30])
        await writer.drain()
        writer.write(REQUEST[30:])
        return await asyncio.wait_for(reader.read(1000), timeout)
    except TimeoutError:
        return None
    except OSError:
        return b""
    finally:
        with contextlib.suppress(UnboundLocalError):
            writer.close()


@pytest.mark.parametrize(
    ("fault", "heard", "seen"),
    [
        (Fault.PASS, ANSWER, 1),
        (Fault.CUT_BEFORE_REQUEST, b"", 0),
        (Fault.CUT_AFTER_REQUEST, b"", 1),
        (Fault.CUT_BEFORE_ANSWER, b"", 1),
        (Fault.BLACKHOLE, None, 0),
    ],
)
async def test_each_fault_does_what_it_says(wired: Wired, fault: Fault, heard: bytes | None, seen: int) -> None:
    proxy, server = wired
    proxy.set(fault)

    assert await ask(proxy, 0.3 if heard is None else 20) == heard
    await eventually(server.requests, lambda count: count == seen)
    assert proxy.counts[fault] == 1

    await proxy.heal()
    assert await ask(proxy) == ANSWER
    assert set(server.seen) == {REQUEST}


@pytest.mark.parametrize("fault", [Fault.DELAY_REQUEST, Fault.DELAY_ANSWER])
async def test_a_delayed_request_arrives_although_its_client_has_left(wired: Wired, fault: Fault) -> None:
    proxy, server = wired
    proxy.set(fault)
    proxy.delay_s = 60

    assert await ask(proxy, 0.1) is None
    at_once = 0 if fault is Fault.DELAY_REQUEST else 1
    await eventually(server.requests, lambda count: count == at_once)
    proxy.late.set()
    await eventually(server.requests, lambda count: count == 1)
    assert await ask(proxy) == ANSWER


async def test_a_refusing_proxy_resets_what_is_open_and_takes_nothing_new(wired: Wired) -> None:
    proxy, _ = wired
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(REQUEST)
    assert await reader.readexactly(len(ANSWER)) == ANSWER

    proxy.refuse()
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(10), 5) == b""
    assert await ask(proxy) == b""
    await proxy.heal()

    assert await ask(proxy) == ANSWER
    writer.close()


async def test_a_blackhole_swallows_open_connections_too_and_healing_resets_them(wired: Wired) -> None:
    proxy, server = wired
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(REQUEST)
    await reader.readexactly(len(ANSWER))

    proxy.set(Fault.BLACKHOLE)
    writer.write(REQUEST)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(10), 0.2)
    await proxy.heal()

    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(10), 5) == b""
    assert len(server.seen) == 1
    writer.close()


async def test_a_forgotten_connection_stays_dead_while_new_ones_pass(wired: Wired) -> None:
    proxy, server = wired
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(REQUEST)
    await reader.readexactly(len(ANSWER))

    proxy.set(Fault.BLACKHOLE)
    await proxy.heal(forget=True)
    writer.write(REQUEST)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(10), 0.2)
    assert await ask(proxy) == ANSWER
    assert len(server.seen) == 2
    writer.close()


async def test_faults_are_chosen_anew_for_each_exchange_of_a_connection(wired: Wired) -> None:
    proxy, server = wired
    faults = iter([Fault.PASS, Fault.PASS, Fault.CUT_BEFORE_ANSWER])
    proxy.choose = lambda: next(faults)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)

    for _ in range(2):
        writer.write(REQUEST)
        assert await reader.readexactly(len(ANSWER)) == ANSWER
    writer.write(REQUEST)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(10), 5) == b""

    assert (len(server.seen), proxy.counts["pass"], proxy.counts["cut_before_answer"]) == (3, 2, 1)
    writer.close()
