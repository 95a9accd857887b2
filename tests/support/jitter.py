"""What makes a race: pauses at every commit, a clock that can be moved, and a wire that holds what it carries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
from fastapi import FastAPI

from common.db import Connection, Database
from support.house import Wire
from support.rounds import pause


class MovableClock:
    """The system's time and what a test has moved it by."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._ahead += timedelta(seconds=seconds)


class JitteryDatabase(Database):
    """A database whose transactions begin, commit and are known of a little later, as the racer's seed says."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """See `Database.transaction`."""
        await pause()
        async with super().transaction() as connection:
            yield connection
            await pause()
        await pause()


@dataclass(slots=True)
class Held:
    """The first request that carries a word, held before it arrives or before its answer does."""

    word: bytes
    before: bool
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _fails: bool = False

    def release(self, *, fails: bool = False) -> None:
        """Let it go on; with `fails` its caller hears of a time-out instead of an answer."""
        self._fails = fails
        self._open.set()

    async def stay(self, request: httpx.Request) -> None:
        """Stay until released."""
        self.reached.set()
        await self._open.wait()
        if self._fails:
            raise httpx.ReadTimeout("held too long", request=request)


class RaceWire(Wire):
    """A wire with pauses, on which one request, or its answer, can be held while the others pass."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(app)
        self._held: list[Held] = []
        self._late: dict[bytes, list[httpx.Request]] = {}

    def hold(self, word: str, *, before: bool) -> Held:
        """Hold the next request that carries `word`: before it arrives, or else its answer."""
        held = Held(word.encode(), before)
        self._held.append(held)
        return held

    def delay(self, word: str) -> None:
        """Keep back the next request that carries `word`: its caller hears of a time-out (see `deliver`)."""
        self._late[word.encode()] = []

    async def deliver(self, word: str, times: int) -> None:
        """Let what was kept back arrive after all, `times` times."""
        for request in self._late.pop(word.encode()):
            for _ in range(times):
                await pause()
                await super().handle_async_request(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request."""
        await pause()
        self._keep_back(request)
        held = next((h for h in self._held if h.word in request.content), None)
        if held is not None:
            self._held.remove(held)
        if held is not None and held.before:
            await held.stay(request)
        response = await super().handle_async_request(request)
        if held is not None and not held.before:
            await held.stay(request)
        await pause()
        return response

    def _keep_back(self, request: httpx.Request) -> None:
        for word, kept in self._late.items():
            if word in request.content and not kept:
                kept.append(request)
                raise httpx.ReadTimeout("on its way", request=request)
