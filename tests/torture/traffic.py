"""Live traffic: workers that play one story after the other, each with users of its own."""

import asyncio
import collections
import random
from dataclasses import dataclass, field

from support.client import Client, GaveUp
from support.hard_stories import talk
from support.proofs import Chain, until_at_rest
from support.stories import STORIES, Cast, Story

TOLD = STORIES | {"talk": Story(talk)}
AT_ONCE = 10
"""Stories that are looked at, at the end, at the same time."""


@dataclass(slots=True)
class Traffic:
    """The stories that were begun, and what went wrong with any of them."""

    client: Client
    seed: int
    casts: list[tuple[str, Cast]] = field(default_factory=list)
    under_way: int = 0
    failures: list[str] = field(default_factory=list)
    open: bool = True

    async def work(self, worker: int) -> None:
        """Play stories until the traffic is closed; the last one is played to its end."""
        dice = random.Random(f"{self.seed}-{worker}")
        names = sorted(TOLD)
        while self.open:
            name = dice.choice(names)
            cast = Cast(self.client)
            self.under_way += 1
            try:
                await cast.enter(with_money=TOLD[name].with_money)
                self.casts.append((name, cast))
                await TOLD[name].play(cast)
            except (GaveUp, AssertionError) as error:
                self.failures.append(f"{name}: {error}")
            finally:
                self.under_way -= 1

    async def rest(self, chain: Chain, within_s: float) -> None:
        """Wait until every story is at its end."""
        free = asyncio.Semaphore(AT_ONCE)

        async def one(name: str, cast: Cast) -> None:
            async with free:
                try:
                    await until_at_rest(cast, chain, within_s)
                except (GaveUp, AssertionError) as error:
                    self.failures.append(f"{name}: {error}")

        await asyncio.gather(*(one(name, cast) for name, cast in self.casts))

    async def final_states(self) -> "collections.Counter[str]":
        """Return how many of the stories' deals are in each status."""
        found = [await cast.read(deal_id) for _, cast in self.casts for deal_id in cast.deals]
        return collections.Counter(deal["status"] for deal in found)
