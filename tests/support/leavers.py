"""Clients that leave in the middle of a request."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from support.proxy import reset

AT_A_TIME = 100
WAYS = ("half of the head", "half of the body", "whole, then gone", "whole, then reset", "half, then reset")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that somebody begins."""

    port: int
    method: str
    path: str
    token: str
    body: bytes = b""

    def encoded(self) -> tuple[bytes, bytes]:
        """Return the head and the body as they go over the wire."""
        head = (
            f"{self.method} {self.path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode(), self.body


async def leave(call: Call, way: str, after_s: float) -> None:
    """Begin a call and leave in one of the `WAYS`, a moment later."""
    head, body = call.encoded()
    sent = head + body
    if way == "half of the head":
        sent = head[: len(head) // 2]
    elif way.startswith("half"):
        sent = head + body[: len(body) // 2]
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", call.port)
        writer.write(sent)
        await writer.drain()
        await asyncio.sleep(after_s)
        if way.endswith("reset"):
            reset(writer)
        writer.close()


async def leave_all(calls: Sequence[Call], rng: random.Random) -> None:
    """Begin all the calls, many at a time, and leave each in a random way after up to 30 ms."""
    gate = asyncio.Semaphore(AT_A_TIME)

    async def one(call: Call, way: str, after_s: float) -> None:
        async with gate:
            await leave(call, way, after_s)

    choices = [(call, rng.choice(WAYS), rng.choice((0, rng.uniform(0, 0.03)))) for call in calls]
    await asyncio.gather(*(one(*choice) for choice in choices))
