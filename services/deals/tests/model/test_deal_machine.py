"""Deals beside a model: whatever is asked for while the line to the ledger fails and mends, the two say the same.

An action that changes nothing, refused or done already, leaves every row of deals and of the ledger as it is, down
to the transaction that wrote it.
"""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import httpx
import orjson
from hypothesis import strategies as st
from hypothesis.stateful import invariant

import accounts.use_cases.check_invariants
import deals.use_cases.check_invariants
from accounts.api.schemas import UserOut
from accounts.use_cases import manage_keys
from accounts.use_cases.read_users import find_balances
from accounts.use_cases.upsert_user import upsert_user
from common.internal import InternalClient
from deals.adapters.accounts import HttpAccounts
from deals.use_cases.fund_waiting_deals import fund_waiting_deals, request_funding
from deals.use_cases.pass_deadlines import pass_deadlines
from deals.use_cases.settle_commands import settle_due_commands
from support.deal_model import ALLOWED, DONE, HOLDING, MOVES, Answer, DealModel, World
from support.house import CALLERS, received
from support.machines import Digest, Machine, Size, play, sizes, step
from support.servers import Databases

MOST_DEALS = 4
"""So many at a time that can still change: each order in which their money may meet the ledger is tried."""
NOBODY = 2**62
ABOUT = [("Late", "Two weeks"), ("Late", "Three weeks")]
PATHS = {
    "confirm": ["confirm", "confirm/"],
    "deny": ["deny"],
    "cancel": ["cancel"],
    "close": ["close"],
    "dispute": ["dispute/", "dispute"],
    "close_performer": ["dispute/close_preformer", "dispute/close_performer"],
    "close_customer": ["dispute/close_customer"],
}
ARBITERS = ("close_performer", "close_customer")
LONGER_THAN_ANY_LEASE = timedelta(minutes=2)
RULE_LIMIT = 10
"""A worker that finds more to do than this in one step never ends."""

methods = st.sampled_from(["POST", "GET"])
picks = st.integers(0, 100)  # a larger range would be drawn at its ends too often


class Clock:
    """The time of deals, as the machine sets it."""

    def __init__(self) -> None:
        # Ahead of PostgreSQL's clock, which dates a new funding pass.
        self._now = datetime.now(UTC) + timedelta(hours=1)

    def now(self) -> datetime:
        """Return the present time."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by


class DealMachine(Machine):
    """Three users who are each other's customers and performers, and deals between them."""

    async def begin(self) -> None:
        """Open the tenants and the users, mend the line, and set the clock."""
        house = self.ground.house
        self.names = {name: f"{name}-{self.number}" for name in ("default", "arbiter", "other")}
        self.tenant = await manage_keys.create_tenant(house.accounts_db, f"ours-{self.number}")
        other = await manage_keys.create_tenant(house.accounts_db, f"other-{self.number}")
        for name, tenant, scopes in (
            ("default", self.tenant, ["default"]),
            ("arbiter", self.tenant, ["arbiter"]),
            ("other", other, ["default", "arbiter"]),
        ):
            house.keys[self.names[name]] = (await manage_keys.create_key(house.accounts_db, tenant, scopes))[1]
        users = [
            await upsert_user(house.accounts_db, self.tenant, (n, f"user {n}"), None, UserOut.of)
            for n in (1, 2, 3)
        ]
        self.users = [user.id for user in users]
        self.world = World(dict.fromkeys(self.users, 0))
        self.futures: list[World] = []
        self.heard, self.credits = 0, 0
        self.clock = Clock()
        self.client = InternalClient("http://accounts", CALLERS["deals"], transport=house.wire)
        house.money = replace(house.money, accounts=HttpAccounts(self.client), clock=self.clock)
        house.deals.state.money = house.money
        house.wire.cut, house.wire.deaf, house.wire.only = False, False, ""

    @step(
        weight=3,
        when=lambda self: len(self.live) < MOST_DEALS,
        customer=st.integers(0, 2),
        performer=st.integers(1, 2),
        price=st.integers(1, 20),
        hours=st.one_of(st.none(), st.none(), st.integers(1, 40)),
    )
    def create(self, customer: int, performer: int, price: int, hours: int | None) -> None:
        """Create a deal that can be."""
        self.run(self._create(self.users[customer], self.users[(customer + performer) % 3], price, hours))

    async def _create(self, customer: int, performer: int, price: int, hours: int | None) -> None:
        deadline = None if hours is None else self.clock.now() + timedelta(hours=hours)
        expected = self.world.create(customer, performer, late=hours is not None and hours < 0)
        before = await self.digest()
        answer = await self.call(
            "POST",
            "",
            {
                "title": "A logo",
                "description": "",
                "price": f"0.{price:06d}",
                "customer_id": customer,
                "performer_id": performer,
                "deadline_at": None if deadline is None else deadline.isoformat(),
            },
        )
        assert answer.status_code == expected.code, answer.text
        if expected.changes:
            deal_id = answer.json()["deal_id"]
            self.world.deals.append(DealModel(deal_id, customer, performer, price, deadline))
        else:
            assert await self.digest() == before

    @step(
        weight=9,
        when=lambda self: self.possible,
        which=picks,
        about=st.integers(0, 1),
        method=methods,
        again=st.booleans(),
        gives_up=st.sampled_from([False, False, False, True]),
    )
    def ask_for_what_is_possible(self, which: int, about: int, method: str, again: bool, gives_up: bool) -> None:
        """Ask for an action that changes the deal, and again, as a client whose connection broke does.

        A waiting deal can only be given up; most people wait.
        """
        deal, action = self.possible[which % len(self.possible)]
        if action == "cancel" and not gives_up:
            return
        self.run(self._ask(deal, action, ABOUT[about], method))
        if again:
            self.run(self._ask(deal, action, ABOUT[about], method))

    @step(
        weight=2,
        when=lambda self: self.world.deals,
        which=picks,
        action=st.sampled_from(sorted(PATHS)),
        about=st.integers(0, 1),
        method=methods,
    )
    def ask_for_anything(self, which: int, action: str, about: int, method: str) -> None:
        """Ask for an action whether it is possible or not."""
        deal = self.world.deals[which % len(self.world.deals)]
        self.run(self._ask(deal, action, ABOUT[about], method))

    @step(
        weight=3,
        when=lambda self: self.flying,
        which=picks,
        action=st.sampled_from(sorted(PATHS)),
        about=st.integers(0, 1),
        method=methods,
    )
    def ask_while_money_is_in_flight(self, which: int, action: str, about: int, method: str) -> None:
        """Ask for any action of a deal whose money is in flight."""
        deal = self.flying[which % len(self.flying)]
        self.run(self._ask(deal, action, ABOUT[about], method))

    @property
    def flying(self) -> list[DealModel]:
        """The deals whose money is in flight."""
        return [deal for deal in self.live if deal.money]

    @property
    def possible(self) -> list[tuple[DealModel, str]]:
        """Every action that would change a deal now; those that lead on are named more often."""
        found = [(deal, action) for deal in self.live for action in deal.allowed]
        onward = [(deal, action) for deal, action in found if action not in ("deny", "cancel")]
        holds = [(d, "cancel") for d in self.live if d.money and MOVES[d.money.action] == "hold"]
        return found + onward * 4 + holds

    @property
    def live(self) -> list[DealModel]:
        """The deals that can still change."""
        return [deal for deal in self.world.deals if deal.status in ALLOWED]

    async def _ask(self, deal: DealModel, action: str, about: tuple[str, str], method: str) -> None:
        before = await self.digest()
        expected = self.world.ask(deal, action, about if action == "dispute" else None)
        answer = await self._request(deal, action, about, method)
        assert answer.status_code == expected.code, f"{expected.code} expected: {answer.text}"
        compare_answer(answer, deal, expected)
        if not expected.changes:
            assert await self.digest() == before

    async def _request(
        self, deal: DealModel, action: str, about: tuple[str, str], method: str, key: str | None = None
    ) -> httpx.Response:
        path = PATHS[action][deal.price % len(PATHS[action])]
        body = None
        if action == "dispute":
            method, body = "POST", {"title": about[0], "description": about[1]}
        key = key or ("arbiter" if action in ARBITERS else "default")
        return await self.call(method, f"{deal.id}/{path}", body, key)

    @step(
        when=lambda self: self.world.deals,
        which=picks,
        action=st.sampled_from(sorted(PATHS)),
        method=methods,
        foreign=st.booleans(),
    )
    def ask_without_the_right(self, which: int, action: str, method: str, foreign: bool) -> None:
        """Another tenant finds nothing; the parties do not award, and the arbiter does nothing else."""
        deal = self.world.deals[which % len(self.world.deals)]
        key = "other" if foreign else "default" if action in ARBITERS else "arbiter"
        before = self.run(self.digest())
        answer = self.run(self._request(deal, action, ABOUT[0], method, key))
        code = (404, "deal_not_found") if foreign else (403, "forbidden")
        assert (answer.status_code, answer.json()["code"]) == code
        assert self.run(self.digest()) == before

    @step(
        parties=st.sampled_from([(0, 0), (0, -1), (-1, 0), (1, 2)]),
        hours=st.sampled_from([None, -1]),
    )
    def create_what_cannot_be(self, parties: tuple[int, int], hours: int | None) -> None:
        """Ask for a deal with oneself, with nobody, or for yesterday."""
        if parties == (1, 2) and hours is None:
            hours = -1
        customer, performer = (NOBODY if party < 0 else self.users[party] for party in parties)
        self.run(self._create(customer, performer, 5, hours))

    @step(weight=3, user=st.integers(0, 2), units=st.integers(1, 12))
    def money_arrives(self, user: int, units: int) -> None:
        """A user is credited."""
        self._credit(user, units)

    @step(weight=4, when=lambda self: self.lacking, which=picks, more=st.sampled_from([-1, 0, 0]))
    def what_a_deal_lacks_arrives(self, which: int, more: int) -> None:
        """The customer of a waiting deal is credited with just what it lacks, or one unit less."""
        deal = self.lacking[which % len(self.lacking)]
        units = deal.price - self.world.balances[deal.customer] + more
        if units > 0:
            self._credit(self.users.index(deal.customer), units)

    @property
    def lacking(self) -> list[DealModel]:
        """The waiting deals that their customer could not pay for."""
        waiting = [deal for deal in self.world.deals if deal.status == "waiting_for_payment"]
        return [deal for deal in waiting if deal.price > self.world.balances[deal.customer]]

    def _credit(self, user: int, units: int) -> None:
        self.credits += 1
        key = f"tron:{self.number}:{self.credits}"
        result = self.run(self.ground.house.credit(self.users[user], units, key, self.tenant))
        assert result["outcome"] == "applied"
        self.world.credit(self.users[user], units)

    @step(weight=2)
    def deals_hears_of_credits(self) -> None:
        """The events of accounts arrive, each twice."""
        self.run(self._deliver())

    async def _deliver(self) -> None:
        rows = await self.ground.looks["accounts"].fetch(
            "SELECT id, envelope FROM outbox WHERE id > $1 AND subject = 'balance.credited'"
            " AND (envelope->>'tenant_id')::bigint = $2 ORDER BY id",
            self.heard,
            self.tenant,
        )
        for row in rows:
            self.heard = row[0]
            for _ in range(2):
                await request_funding(self.ground.house.money, [received(orjson.loads(row[1]))])
        self.world.hear_of_credits()

    @step(weight=2)
    def the_worker_settles(self) -> None:
        """The worker posts or voids all that is in flight."""
        self.run(self._settle())

    async def _settle(self) -> None:
        self.clock.advance(LONGER_THAN_ANY_LEASE)
        await exhaust(lambda: settle_due_commands(self.ground.house.money))
        flying = [i for i, deal in enumerate(self.world.deals) if deal.money]
        # Which of two holds meets the ledger first is not promised: every order is a possible future.
        for order in permutations(flying):
            future = deepcopy(self.world)
            future.settle(order)
            self.futures.append(future)

    @step(weight=3)
    def the_worker_funds(self) -> None:
        """The worker looks at the deals that wait."""
        self.run(self._fund())

    async def _fund(self) -> None:
        self.clock.advance(LONGER_THAN_ANY_LEASE)
        await exhaust(lambda: fund_waiting_deals(self.ground.house.money))
        self.world.fund()

    @step(hours=st.integers(1, 12))
    def deadlines_pass(self, hours: int) -> None:
        """Hours pass, and the worker looks at the deadlines."""
        self.clock.advance(timedelta(hours=hours))
        self.run(pass_deadlines(self.ground.house.money))
        self.world.pass_deadlines(self.clock.now())

    @step(
        weight=2,
        fault=st.sampled_from(["cut", "deaf"]),
        only=st.sampled_from(["", "/operations", "/operations", "/operations/void", "/balances", "/lookup"]),
    )
    def the_line_fails(self, fault: str, only: str) -> None:
        """Requests are lost, or only their answers, for all calls or for some."""
        self._set_fault(fault, only)

    @step()
    def the_line_mends(self) -> None:
        """Everything arrives again."""
        self._set_fault("ok", "")

    def _set_fault(self, fault: str, only: str) -> None:
        self.world.fault, self.world.only = fault, only
        wire = self.ground.house.wire
        wire.cut, wire.deaf, wire.only = fault == "cut", fault == "deaf", only

    @invariant()
    def agree(self) -> None:
        """All that can be seen is as the model says, or as one of its futures does."""
        self.run(self._compare())
        self.agreed()

    async def _compare(self) -> None:
        seen = await self._see()
        futures, self.futures = self.futures or [self.world], []
        matching = [future for future in futures if future.view() == seen]
        if not matching:
            assert seen == futures[0].view()
        self.world = matching[0]

    async def _see(self) -> tuple[object, ...]:
        deals = [f"deal:{deal.id}" for deal in self.world.deals]
        owners = [f"user:{user}" for user in self.users] + deals
        found = await find_balances(self.ground.house.accounts_db, self.tenant, owners)
        balances = {user: found.get((f"user:{user}", "USDT"), 0) for user in self.users}
        listed = (await self.call("GET", "?limit=200", key="arbiter")).json()["items"]
        shown = [view(item, found.get((f"deal:{item['deal_id']}", "USDT"), 0)) for item in listed[::-1]]
        return (balances, shown)

    async def finish(self) -> None:
        """Mend the line and let everything come to rest: no unit is lost, and nothing waits that could be paid."""
        house = self.ground.house
        self._set_fault("ok", "")
        for _ in range(RULE_LIMIT):
            for work in (self._settle, self._deliver, self._fund):
                await work()
                await self._compare()
            if not self.world.wanted and not self.world.credited and not any(d.money for d in self.world.deals):
                break
        for deal in self.world.deals:
            assert deal.money is None
            assert deal.held == (deal.price if deal.status in HOLDING else 0)
            if deal.status == "waiting_for_payment":
                assert deal.price > self.world.balances[deal.customer]
        units = sum(self.world.balances.values()) + sum(deal.held for deal in self.world.deals)
        assert units == self.world.deposits
        assert await self._told() == {deal.id: deal.told for deal in self.world.deals}
        held = await deals.use_cases.check_invariants.check_invariants(house.money.database, house.money.accounts)
        assert held["ok"], held
        proof = await accounts.use_cases.check_invariants.check_invariants(house.accounts_db)
        assert proof["ok"], proof
        await self.client.close()

    async def _told(self) -> dict[int, list[str]]:
        rows = await self.ground.looks["deals"].fetch(
            "SELECT subject, (envelope->'data'->>'deal_id')::bigint FROM outbox"
            " WHERE (envelope->>'tenant_id')::bigint = $1 ORDER BY id",
            self.tenant,
        )
        told: dict[int, list[str]] = {}
        for subject, deal_id in rows:
            told.setdefault(deal_id, []).append(subject)
        return told

    async def call(self, method: str, path: str, json: Any = None, key: str = "default") -> httpx.Response:
        """Call the deals API."""
        separator = "" if path.startswith("?") else "/"
        return await self.ground.house.call("deals", method, f"/deal{separator}{path}", json, self.names[key])

    async def digest(self) -> Digest:
        """Digest every table that an action could touch, in both services."""
        ours = ("deal", "money_command", "funding", "outbox", "inbox")
        theirs = ("account", "operation", "adjustment", "outbox")
        found = await self.ground.digest("deals", dict.fromkeys(ours, "true"))
        return {**found, **await self.ground.digest("accounts", dict.fromkeys(theirs, "true"))}


async def exhaust(work: Any) -> None:
    """Do the work until there is none, within the limit."""
    for _ in range(RULE_LIMIT):
        if not await work():
            return
    raise AssertionError("the worker always finds something to do")


def view(item: dict[str, Any], held: int) -> tuple[object, ...]:
    """Return of a deal as it is shown what `DealModel.view` returns."""
    dispute = item["dispute"] and (item["dispute"]["title"], item["dispute"]["description"])
    pending = item["pending"] and item["pending"]["action"]
    return (item["deal_id"], item["status"], item["allowed_actions"], pending, item["overdue"], dispute, held)


def compare_answer(answer: httpx.Response, deal: DealModel, expected: Answer) -> None:
    """See that an answer shows the deal as it now is, or says why not."""
    if expected.code == 204:
        assert answer.content == b""
    elif expected.code == 409:
        problem = answer.json()
        assert problem["code"] == ("pending" if deal.money else "illegal_transition")
        assert (problem["status_of_deal"], problem["allowed_actions"]) == (deal.status, deal.allowed)
        assert problem.get("pending") == (deal.money.action if deal.money else None)
    else:
        assert view(answer.json(), deal.held) == deal.view()


def test_the_model_and_the_machine_name_the_same_actions() -> None:
    assert sorted(PATHS) == sorted(DONE)
    assert {action for actions in ALLOWED.values() for action in actions} == set(PATHS)


@sizes(small=Size(24, 40), deep=Size(400, 60))
def test_deals_and_their_model_never_differ(migrated: Databases, size: Size) -> None:
    play(DealMachine, migrated, size)
