"""A TCP proxy that breaks wires while the programs at their ends run.

An exchange begins with the first bytes of a client after an answer, and each takes the fault that `choose` names
then. HTTP is understood just far enough to tell when a request is whole; anything else may be passed, delayed,
swallowed or refused.
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum

CHUNK = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Fault(StrEnum):
    """What happens to an exchange."""

    PASS = "pass"
    CUT_BEFORE_REQUEST = "cut_before_request"
    """The server never sees the request; both sides are closed."""
    CUT_AFTER_REQUEST = "cut_after_request"
    """The request reaches the server whole, then both sides are closed before a byte of the answer."""
    CUT_BEFORE_ANSWER = "cut_before_answer"
    """The server answers; the answer is dropped and the client closed."""
    DELAY_REQUEST = "delay_request"
    """The request reaches the server `delay_s` later, also when the client has given up."""
    DELAY_ANSWER = "delay_answer"
    """The answer reaches the client `delay_s` later."""
    BLACKHOLE = "blackhole"
    """What either side sends is swallowed, and nobody hears of it."""


@dataclass(eq=False, slots=True)
class _Wire:
    """One connection of a client and ours to the server."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    fault: Fault = Fault.PASS
    asked: bytes = b""
    answered: bool = True
    lossy: bool = False
    dead: bool = False
    """Swallows for ever."""
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server has answered, or never will."""

    def close(self) -> None:
        """Close both sides in order: what was written still arrives."""
        for _, writer in (self.client, self.server):
            writer.close()

    def reset(self) -> None:
        """Reset both sides, as when bytes were lost."""
        for _, writer in (self.client, self.server):
            reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset: what is on the way is thrown away."""
    with contextlib.suppress(OSError):
        own: socket.socket = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass(eq=False, slots=True)
class FaultProxy:
    """Listens on a loopback port of its own and carries to `target`, a loopback port too.

    `choose` may be replaced at any time; what is delayed comes once `late` is set or `delay_s` over. `counts` tells
    exchanges by fault and how many were `answered`, and connections that were `connected`, `reset`, or that
    `refused_target`.
    """

    target: int
    port: int = 0
    delay_s: float = 1.0
    late: asyncio.Event = field(default_factory=asyncio.Event)
    choose: Callable[[], Fault] = lambda: Fault.PASS
    counts: Counter[str] = field(default_factory=Counter)
    _listener: asyncio.Server | None = None
    _wires: set[_Wire] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def listen(self) -> None:
        """Take connections, always on the same port."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._enter, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    def set(self, fault: Fault) -> None:
        """Let every exchange from now on take this fault; a blackhole also swallows what is under way."""
        self.choose = lambda: fault
        if fault is Fault.BLACKHOLE:
            for wire in self._wires:
                wire.fault = fault

    def refuse(self) -> None:
        """Be a dead server: refuse new connections and reset the old ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for wire in list(self._wires):
            self._reset(wire)

    async def heal(self, *, forget: bool = False) -> None:
        """Carry everything again. Connections that lost bytes are reset.

        Args:
            forget: leave swallowed connections dead instead, as a firewall that lost its table does.
        """
        self.set(Fault.PASS)
        await self.listen()
        for wire in list(self._wires):
            if wire.fault is Fault.BLACKHOLE and forget:
                wire.dead = True
            elif wire.lossy:
                self._reset(wire)
            elif wire.fault is Fault.BLACKHOLE:
                wire.fault = Fault.PASS

    async def close(self) -> None:
        """Refuse, and wait until nothing is carried any more."""
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reset(self, wire: _Wire) -> None:
        self.counts["reset"] += 1
        wire.reset()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:
            pass  # the proxy closes
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connected"] += 1
        try:
            server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self.counts["refused_target"] += 1
            reset(writer)
            return
        wire = _Wire((reader, writer), server)
        self._wires.add(wire)
        try:
            await asyncio.gather(self._requests(wire), self._answers(wire))
        finally:
            self._wires.discard(wire)
            wire.close()

    async def _requests(self, wire: _Wire) -> None:
        """Carry from the client to the server until the client ends or the fault does."""
        reader = wire.client[0]
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if wire.answered and not wire.dead:
                    wire.answered, wire.asked, wire.fault = False, b"", self.choose()
                    self.counts[wire.fault] += 1
                    wire.heard.clear()
                    if wire.fault is Fault.DELAY_REQUEST:
                        await self._delay()
                await self._carry_request(wire, chunk)
        if wire.fault is Fault.DELAY_REQUEST and not wire.answered:
            await wire.heard.wait()  # the server must not learn that its client has left
        if wire.fault is not Fault.BLACKHOLE:
            wire.server[1].close()

    async def _delay(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.late.wait(), self.delay_s)

    async def _carry_request(self, wire: _Wire, chunk: bytes) -> None:
        if wire.fault is Fault.CUT_BEFORE_REQUEST:
            wire.close()
        elif wire.fault is Fault.BLACKHOLE:
            wire.lossy = True
        else:
            wire.asked += chunk if wire.fault is Fault.CUT_AFTER_REQUEST else b""
            wire.server[1].write(chunk)
            await wire.server[1].drain()
            if wire.fault is Fault.CUT_AFTER_REQUEST and is_whole(wire.asked):
                wire.close()

    async def _answers(self, wire: _Wire) -> None:
        """Carry from the server to the client until the server ends or the fault does."""
        reader, writer = wire.server[0], wire.client[1]
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if wire.fault is Fault.DELAY_ANSWER and not wire.answered:
                    await self._delay()
                self.counts["answered"] += not wire.answered
                wire.answered = True
                wire.heard.set()
                if wire.fault is Fault.BLACKHOLE:
                    wire.lossy = True
                elif wire.fault in (Fault.CUT_AFTER_REQUEST, Fault.CUT_BEFORE_ANSWER):
                    wire.close()
                else:
                    writer.write(chunk)
                    await writer.drain()
        wire.heard.set()
        if wire.fault is not Fault.BLACKHOLE:
            writer.close()


def is_whole(request: bytes) -> bool:
    """Tell whether an HTTP/1.1 request (with a Content-Length, where it has a body) has come to its end."""
    head, end, body = request.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head + b"\r\n")
    return len(body) >= (int(length[1]) if length else 0)


@contextlib.asynccontextmanager
async def fault_proxy(target: int) -> AsyncIterator[FaultProxy]:
    """Run a proxy in front of a loopback port."""
    proxy = FaultProxy(target)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
