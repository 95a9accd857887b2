"""NATS and PostgreSQL go away under running services: nothing is restarted, and nothing is lost or doubled."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from support.house import USDT
from support.proxy import Fault
from support.town import Town, check_town
from support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

PLAYERS = 4
DEEP_S = 60.0 * int(os.environ.get("GARANT_ROUNDS") or 3)
BROKER_FAULTS = ("refused", "swallowed", "stopped")


@contextlib.asynccontextmanager
async def without_nats(town: Town, fault: str) -> AsyncIterator[None]:
    """Take NATS away and give it back, its store kept."""
    if fault == "stopped":
        await town.nats.stop(signal.SIGKILL)
    elif fault == "refused":
        town.proxy.refuse()
    else:
        town.proxy.set(Fault.BLACKHOLE)
    try:
        yield
    finally:
        if fault == "stopped":
            await town.nats.start()
        await town.proxy.heal()


async def play_without_nats(town: Town, faults: Sequence[str], down_s: float) -> None:
    """Move money during one outage after the other; each answer must be the usual one, and quick."""
    alice, bob = await town.user(), await town.user()
    for fault in faults:
        waiting = await waiting_deal(town, bob)
        async with without_nats(town, fault):
            await town.credit(waiting.customer_id, 7 * USDT)
            deadline = time.monotonic() + down_s
            while time.monotonic() < deadline:
                async with asyncio.timeout(5):
                    await play_one(town, alice, bob)
                await asyncio.sleep(down_s / 50)
            assert await town.unpublished() > 0
        await eventually(waiting.status, lambda found: found == "confirmed", within_s=40)


async def play_one(town: Town, customer: int, performer: int) -> None:
    """Pay in, and play a deal to its end."""
    await town.credit(customer, 3 * USDT)
    deal_id = await town.deal(customer, performer, 3)
    assert deal_id is not None
    confirmed, closed = await town.act(deal_id, "confirm"), await town.act(deal_id, "close")
    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "confirm_performer")
    assert (closed.status_code, closed.json()["status"]) == (200, "close")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A deal that an event, `balance.credited`, has to fund."""

    town: Town
    deal_id: int
    customer_id: int

    async def status(self) -> str:
        """Return the deal's status."""
        return str((await self.town.call("deals", "GET", f"/deal/{self.deal_id}")).json()["status"])


async def waiting_deal(town: Town, performer: int) -> Waiting:
    customer = await town.user()
    deal_id = await town.deal(customer, performer, 7)
    assert deal_id is not None
    assert (await town.act(deal_id, "confirm")).json()["status"] == "waiting_for_payment"
    return Waiting(town, deal_id, customer)


async def test_money_calls_go_on_without_nats_and_the_backlog_drains_in_order(town: Town) -> None:
    await play_without_nats(town, BROKER_FAULTS, down_s=1)
    await check_town(town)


@pytest.mark.deep
@pytest.mark.timeout(DEEP_S + 300)
@pytest.mark.parametrize("fault", BROKER_FAULTS)
async def test_money_calls_go_on_without_nats_for_minutes(town: Town, fault: str) -> None:
    await play_without_nats(town, [fault], DEEP_S)
    await check_town(town)


@pytest.mark.deep
async def test_a_connection_to_nats_that_is_dead_for_good_is_given_up_within_half_a_minute(town: Town) -> None:
    alice, bob = await town.user(), await town.user()
    waiting = await waiting_deal(town, bob)
    town.proxy.set(Fault.BLACKHOLE)
    await town.credit(waiting.customer_id, 7 * USDT)
    await play_one(town, alice, bob)
    await town.proxy.heal(forget=True)  # new connections pass, the old ones never hear another byte
    try:
        await eventually(town.unpublished, lambda count: count == 0, within_s=30)
        await eventually(waiting.status, lambda found: found == "confirmed", within_s=30)
    finally:
        await town.proxy.heal()
    await check_town(town)


@dataclass(slots=True)
class Load:
    """Players that make, confirm and close deals until they are told to stop, and what they were answered."""

    town: Town
    rng: random.Random
    users: list[int]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    codes: Counter[int] = field(default_factory=Counter)
    deals: dict[int, tuple[int, int]] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)

    async def play(self) -> None:
        """Play until the end; every answer is one that a client can act on."""
        while not self.stop.is_set():
            customer, performer = self.rng.sample(self.users, 2)
            deal_id = await self.town.deal(customer, performer, self.rng.randint(1, 3))
            if deal_id is None:
                self.codes[503] += 1
                await asyncio.sleep(0.05)
                continue
            self.deals[deal_id] = (customer, performer)
            for action in ("confirm", "close"):
                await self.act(deal_id, action)

    async def act(self, deal_id: int, action: str) -> None:
        """Do an action a few times, until its answer is known."""
        for _ in range(3):
            answer = await self.town.act(deal_id, action)
            self.codes[answer.status_code] += 1
            assert answer.status_code in (200, 202, 409, 503), answer.text
            if answer.status_code == 200 and answer.json()["status"] == "close":
                self.closed.add(deal_id)
            if answer.status_code in (200, 409):
                return
            await asyncio.sleep(0.05)

    async def settle(self) -> None:
        """Bring every deal that is funded to its end, as its client would."""
        for deal_id in self.deals:

            async def status(deal_id: int = deal_id) -> str:
                return str((await self.town.act(deal_id, "close")).json().get("status"))

            await self.town.act(deal_id, "confirm")
            await eventually(status, lambda found: found == "close", within_s=40)


@contextlib.asynccontextmanager
async def under_load(town: Town, rng: random.Random) -> AsyncIterator[Load]:
    """Keep players playing for the length of the block, then settle what they began."""
    load = Load(town, rng, [await town.user() for _ in range(6)])
    for user in load.users:
        await town.credit(user, 10_000 * USDT)
    async with asyncio.TaskGroup() as players:
        for _ in range(PLAYERS):
            players.create_task(load.play())
        try:
            yield load
        finally:
            load.stop.set()
    await load.settle()


async def restart_postgres(town: Town, load: Load, how: signal.Signals, down_s: float) -> None:
    """Stop PostgreSQL, wait until calls were refused, start it, and wait until deals close again."""
    load.codes[503] = 0
    await eventually(lambda: closed(load), lambda count: count > 3)
    await town.postgres.stop(how)
    await eventually(lambda: refused(load))
    await asyncio.sleep(down_s)
    before = len(load.closed)
    await town.postgres.start()
    await eventually(lambda: closed(load), lambda count: count > before + 3, within_s=40)


async def closed(load: Load) -> int:
    return len(load.closed)


async def refused(load: Load) -> int:
    return load.codes[503]


async def test_services_outlive_restarts_of_postgresql_under_live_calls(town: Town, rng: random.Random) -> None:
    async with under_load(town, rng) as load:
        for how in (signal.SIGINT, signal.SIGQUIT):  # a fast shutdown, and one that is as a crash
            await restart_postgres(town, load, how, down_s=0.3)

    await check_town(town)
    for deal_id in load.closed:
        assert (await town.call("deals", "GET", f"/deal/{deal_id}")).json()["status"] == "close"


@pytest.mark.deep
@pytest.mark.timeout(1200)
async def test_services_outlive_many_restarts_of_postgresql(town: Town, rng: random.Random) -> None:
    async with under_load(town, rng) as load:
        for _ in range(4 * int(os.environ.get("GARANT_ROUNDS") or 5)):
            how = rng.choice((signal.SIGQUIT, signal.SIGINT, signal.SIGQUIT))
            await restart_postgres(town, load, how, down_s=rng.uniform(0, 3))
    await check_town(town)
