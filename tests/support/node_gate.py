"""A gate in front of a Tron node: it limits the rate as public nodes do, and may change what the node answers."""

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from support.proxy import is_whole

CHUNK = 64 * 1024
BUSY = {"Error": "class java.lang.IllegalAccessException : lack of computing resources"}

Alter = Callable[[str, dict[str, Any], Any], Any]
"""Takes the path, what was asked and what the node answered; returns what is answered."""


def as_it_is(path: str, asked: dict[str, Any], answer: Any) -> Any:
    """Change nothing."""
    return answer


@dataclass(eq=False, slots=True)
class NodeGate:
    """Listens on a loopback port of its own.

    Attributes:
        target: the node's port.
        per_s: calls that are let through each second; above it the answer is 429, 403 or a 200 with `Error`, in turn.
        alter: changes answers.
        down: refuse everything with 503.
        counts: calls by path, and `refused`.
        keys: the API keys that came.
    """

    target: int
    per_s: float | None = None
    alter: Alter = as_it_is
    down: bool = False
    counts: "Counter[str]" = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    port: int = 0
    _next: float = 0.0
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    _kinds: "itertools.cycle[int]" = field(default_factory=lambda: itertools.cycle((429, 403, 200)))

    @property
    def url(self) -> str:
        """Where clients call."""
        return f"http://127.0.0.1:{self.port}"

    def _refusal(self) -> bytes | None:
        if self.down:
            return answer_of(503, {})
        if self.per_s is None:
            return None
        now = asyncio.get_running_loop().time()
        if self._next > now + 0.05:  # a twentieth of a second may be used at once
            self.counts["refused"] += 1
            return answer_of(next(self._kinds), BUSY)
        self._next = max(self._next, now) + 1 / self.per_s
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, over one of its own to the node."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            while request := await _read_message(reader):
                answer = await self._answer(request, *upstream)
                writer.write(answer)
                await writer.drain()
                if not is_whole(answer):  # the node broke it off
                    break
        except (OSError, asyncio.CancelledError):
            pass  # the client has left, or the gate closes
        finally:
            self._tasks.discard(task)
            for end in (writer, upstream[1]):
                end.close()

    async def close(self) -> None:
        """End every connection."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode().strip("/")
        self.counts[path] += 1
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b": ")
            if name.lower() == b"tron-pro-api-key":
                self.keys.add(value.decode())
        if (refusal := self._refusal()) is not None:
            return refusal
        writer.write(request)
        await writer.drain()
        answer = await _read_message(reader)
        if self.alter is as_it_is or not is_whole(answer):
            return answer
        asked = json.loads(body) if body else {}
        found = json.loads(answer.partition(b"\r\n\r\n")[2])
        return answer_of(200, self.alter(path, asked, found))


def answer_of(status: int, content: Any) -> bytes:
    """Return an HTTP answer."""
    body = json.dumps(content).encode()
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """Read one message with its body; empty at the end."""
    message = b""
    while chunk := await reader.read(CHUNK):
        message += chunk
        if is_whole(message):
            break
    return message


@contextlib.asynccontextmanager
async def node_gate(node_url: str, per_s: float | None = None) -> AsyncIterator[NodeGate]:
    """Run a gate in front of a node."""
    port = urlsplit(node_url).port
    assert port is not None
    gate = NodeGate(port, per_s)
    server = await asyncio.start_server(gate.serve, "127.0.0.1", 0)
    gate.port = server.sockets[0].getsockname()[1]
    try:
        yield gate
    finally:
        server.close()
        await gate.close()
