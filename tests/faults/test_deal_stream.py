"""A stream of deals on a wire that fails at random: every answer stays true, and no unit is lost or doubled."""

import asyncio
import contextlib
import os
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from deals.use_cases.fund_waiting_deals import fund_waiting_deals, request_all_funding
from deals.use_cases.settle_commands import settle_due_commands
from support.house import USDT
from support.proxy import Fault, FaultProxy
from support.wires import WiredHouse

PLAYERS = 6
PATIENCE_S = 0.15
FINAL = {"deny_performer", "cancelled", "expired", "close", "arb_close_performer", "arb_close_customer"}
NEXT = {
    "created": ("confirm", "confirm", "confirm", "deny", "cancel"),
    "waiting_for_payment": ("cancel", "credit", "credit"),
    "confirm_performer": ("close", "dispute"),
    "confirmed": ("close", "dispute"),
    "dispute": ("dispute/close_preformer", "dispute/close_customer"),
}
"""By status: what a player may do next."""


class Ahead:
    """A clock two minutes ahead: every lease and every pause has passed, so the worker races the calls."""

    def now(self) -> datetime:
        """Return a moment to come."""
        return datetime.now(UTC) + timedelta(minutes=2)


@dataclass(slots=True)
class Stream:
    """What the players did and were told."""

    wired: WiredHouse
    rng: random.Random
    deposited: int = 0
    users: list[int] = field(default_factory=list)
    told: dict[int, str] = field(default_factory=dict)
    """The final status that an answer named, by deal."""
    codes: Counter[int] = field(default_factory=Counter)

    async def credit(self, user_id: int, units: int) -> None:
        """Pay in, past the faulty wire."""
        self.deposited += units
        key = f"tron:{self.deposited}:{user_id}"
        assert (await self.wired.house.credit(user_id, units, key))["outcome"] == "applied"

    async def act(self, deal_id: int, action: str) -> httpx.Response:
        """Do an action, and hold its answer against what was told before."""
        body = {"title": "Late", "description": "Two weeks"} if action == "dispute" else None
        path = f"/deal/{deal_id}/{action}"
        answer = await self.wired.house.call("deals", "POST", path, body, key="arbiter")
        self.codes[answer.status_code] += 1
        assert answer.status_code in (200, 202, 204, 409), answer.text
        if answer.status_code == 204:
            self.told[deal_id] = "deny_performer"
        elif answer.status_code == 200 and (status := answer.json()["status"]) in FINAL:
            assert self.told.setdefault(deal_id, status) == status
        return answer

    async def play(self, deals: int) -> None:
        """Play deals one after the other, some of them to the end."""
        for _ in range(deals):
            customer, performer = self.rng.sample(self.users, 2)
            created = await self.wired.house.deal(customer, performer, self.rng.randint(1, 20))
            for _ in range(self.rng.randint(1, 6)):
                await self.step(created["deal_id"], customer)

    async def step(self, deal_id: int, customer: int) -> None:
        """Do one of the things that the deal's status allows, now and then three times at once."""
        found = (await self.wired.house.call("deals", "GET", f"/deal/{deal_id}")).json()
        choice = self.rng.choice(NEXT.get(found["status"], ("confirm", "close")))
        if choice == "credit":
            await self.credit(customer, self.rng.randint(1, 20) * USDT)
        else:
            times = self.rng.choice((1, 1, 3))
            await asyncio.gather(*(self.act(deal_id, choice) for _ in range(times)))


async def work(wired: WiredHouse) -> None:
    """Do the worker's part, always early, until cancelled."""
    money = replace(wired.house.money, clock=Ahead())
    while True:
        await settle_due_commands(money)
        await request_all_funding(money.database)
        await fund_waiting_deals(money)
        await asyncio.sleep(0.02)


async def break_at_random(proxy: FaultProxy, rng: random.Random) -> None:
    """Let a third of the exchanges fail, and refuse or swallow everything for moments, until cancelled."""
    faults = [fault for fault in Fault if fault is not Fault.PASS]

    def choose() -> Fault:
        return rng.choice(faults) if rng.random() < 0.35 else Fault.PASS

    while True:
        await proxy.heal()
        proxy.choose = choose
        proxy.delay_s = rng.choice((0.05, 2 * PATIENCE_S))
        await asyncio.sleep(rng.uniform(0.2, 0.6))
        if rng.random() < 0.5:
            proxy.refuse()
        else:
            proxy.set(Fault.BLACKHOLE)
        await asyncio.sleep(rng.uniform(0.05, 0.3))


async def new_stream(wired: WiredHouse, rng: random.Random) -> Stream:
    """Return users with money, whom deals knows already."""
    stream = Stream(wired, rng)
    for number in range(8):
        stream.users.append(await wired.house.user(1000 + number))
        await stream.credit(stream.users[-1], 30 * USDT)
    assert await wired.house.money.accounts.users_exist(1, stream.users)  # from now on they are remembered
    return stream


async def run(stream: Stream, deals: int) -> None:
    """Play so many deals by each of the players while the wire fails, then heal it and settle."""
    wired = stream.wired
    await wired.be_impatient(PATIENCE_S)
    background = [
        asyncio.create_task(work(wired)),
        asyncio.create_task(break_at_random(wired.proxy, stream.rng)),
    ]
    try:
        async with asyncio.TaskGroup() as players:
            for _ in range(PLAYERS):
                players.create_task(stream.play(deals))
        broken = [task for task in background if task.done()]
        assert not broken, broken
    finally:
        for task in background:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    await wired.proxy.heal()
    await wired.settle_later()


async def check_stream(stream: Stream) -> None:
    """Hold the end against every answer, every event and every unit that was paid in."""
    house = stream.wired.house
    await stream.wired.check()
    for deal_id, status in stream.told.items():
        found = (await house.call("deals", "GET", f"/deal/{deal_id}")).json()
        assert found["status"] == status, deal_id
    assert await units_of_all(stream.wired) == stream.deposited
    check_events(await house.outbox("deals"))


async def units_of_all(wired: WiredHouse) -> int:
    async with wired.house.accounts_db.transaction() as connection:
        return int(await connection.value(sa.text("SELECT sum(balance)::text FROM account")))


def check_events(envelopes: list[dict[str, Any]]) -> None:
    """Each version of a deal is told once, in order, and a deal ends once."""
    versions: dict[str, list[int]] = {}
    ends: Counter[str] = Counter()
    for envelope in envelopes:
        versions.setdefault(envelope["aggregate"], []).append(envelope["aggregate_version"])
        ends[envelope["aggregate"]] += envelope["data"].get("status") in FINAL
    for aggregate, found in versions.items():
        assert found == sorted(set(found)), aggregate
    assert set(ends.values()) <= {0, 1}


async def test_a_stream_of_deals_on_a_failing_wire_loses_and_doubles_nothing(
    wired_house: WiredHouse, rng: random.Random
) -> None:
    stream = await new_stream(wired_house, rng)

    await run(stream, deals=5)

    await check_stream(stream)
    assert stream.codes[200] > 0
    assert stream.codes[202] > 0


@pytest.mark.deep
@pytest.mark.timeout(900)
async def test_a_long_stream_of_deals_on_a_failing_wire(wired_house: WiredHouse, rng: random.Random) -> None:
    stream = await new_stream(wired_house, rng)
    for _ in range(int(os.environ.get("GARANT_ROUNDS") or 10)):
        await run(stream, deals=20)
        await check_stream(stream)
