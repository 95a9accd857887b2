"""Strikes a running system at one crash point after the other, while stories are played through its gateway."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from support.client import Client, GaveUp
from support.crashes import CrashFile, Point
from support.hard_stories import STORIES_OF_ALL_KINDS
from support.proofs import Chain, prove, until_at_rest
from support.stories import Cast

READY_WITHIN_S = 60.0
REST_WITHIN_S = 240.0
LOOK_EVERY_S = 0.05
AFTER_THE_END_S = 10.0
"""A worker may come to a point after the story that leads it there has ended."""
MOST_PLAYS = 3
"""Some points are behind a race (a void and the answer that makes it needless): a story that missed it is played again."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A point and the name of the story that reaches it."""

    point: Point
    story: str

    def __str__(self) -> str:
        return f"{self.point} ({self.story})"


@dataclass(slots=True)
class Run:
    """Strikes in their order; a story goes on to its end while the next point is struck already.

    Attributes:
        wrong: what did not hold.
        told: a line for each thing that happened.
        struck: how many points were struck.
    """

    client: Client
    file: CrashFile
    chain: Chain
    wrong: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    struck: int = 0
    begun: float = field(default_factory=time.monotonic)

    async def strike(self, strikes: Sequence[Strike]) -> None:
        """Strike at each point, let every story come to its end, and prove the whole system."""
        casts = await asyncio.gather(*(self._enter(strike) for strike in strikes))
        self._tell("the users have their money")
        ends: list[asyncio.Task[None]] = []
        for strike, cast in zip(strikes, casts, strict=True):
            if STORIES_OF_ALL_KINDS[strike.story].alone:
                await asyncio.gather(*ends)
            await self._until_struck(strike, cast, ends)
        await asyncio.gather(*ends)
        self._tell("every story is at its end")
        told_once = not any(strike.story == "lose" for strike in strikes)
        self.wrong += await prove(self.client, self.chain, told_once=told_once)
        self._tell("everything is proven")

    def _tell(self, what: str) -> None:
        self.told.append(f"{time.monotonic() - self.begun:6.1f} s  {what}")

    async def _enter(self, strike: Strike) -> Cast:
        cast = Cast(self.client)
        await cast.enter(with_money=STORIES_OF_ALL_KINDS[strike.story].with_money)
        return cast

    async def _live(self, strike: Strike, cast: Cast) -> None:
        try:
            await STORIES_OF_ALL_KINDS[strike.story].play(cast)
            self._tell(f"{strike} is played")
            await until_at_rest(cast, self.chain, REST_WITHIN_S)
            self._tell(f"{strike} is at rest")
        except (GaveUp, AssertionError) as error:
            self.wrong.append(f"{strike}: {error}")

    async def _until_struck(self, strike: Strike, cast: Cast, ends: list["asyncio.Task[None]"]) -> None:
        """Play the story, let the service die at the point; return when it is ready again, the story going on."""
        for _ in range(MOST_PLAYS):
            if await self._struck(strike, cast, ends):
                return
            cast = await self._enter(strike)
        self.wrong.append(f"{strike}: the story was played {MOST_PLAYS} times and the point was never reached")

    async def _struck(self, strike: Strike, cast: Cast, ends: list["asyncio.Task[None]"]) -> bool:
        begun, first = time.monotonic(), self.client.system.process(strike.point.service)
        armed = asyncio.Event()

        def arm() -> None:
            self.file.arm(strike.point)
            armed.set()

        cast.arm = arm
        end = asyncio.create_task(self._live(strike, cast))
        ends.append(end)
        ended_at = float("inf")
        while not (armed.is_set() and self.file.claimed):
            if end.done():
                ended_at = min(ended_at, time.monotonic())
            if time.monotonic() - ended_at > AFTER_THE_END_S:
                self.file.disarm()
                self._tell(f"{strike} was missed")
                return False
            await asyncio.sleep(LOOK_EVERY_S)
        struck = time.monotonic()
        if not STORIES_OF_ALL_KINDS[strike.story].command:
            await self._until_ready(strike.point.service, first)
        self.struck += 1
        self._tell(f"{strike} struck after {struck - begun:.1f} s, ready {time.monotonic() - struck:.1f} s later")
        return True

    async def _until_ready(self, service: str, first: int) -> None:
        """Wait until another process than the first answers that it is ready."""

        async def ready() -> bool:
            if self.client.system.find(service) in (None, first):
                return False
            try:
                answer = await self.client.http.get(f"{self.client.system.url(service)}/readyz", timeout=2)
            except httpx.TransportError:
                return False
            return answer.status_code == 200

        await self.client.until(f"{service} to be ready again", ready, bool, READY_WITHIN_S)
