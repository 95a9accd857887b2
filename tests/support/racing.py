"""Accounts and deals where a race can be run, and the proof that it did no harm.

Every check of a race ends in `Stage.prove`: money is conserved, each deal's events are a legal path told once, and
both services' invariants hold.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import orjson
import sqlalchemy as sa

import accounts.use_cases.check_invariants as accounts_check
import deals.use_cases.check_invariants as deals_check
from accounts.use_cases.post_operations import Ledger
from common.internal import InternalClient
from deals.adapters.accounts import HttpAccounts
from deals.use_cases.fund_waiting_deals import fund_waiting_deals, request_funding
from deals.use_cases.settle_commands import Money, settle_due_commands
from support.house import CALLERS, USDT, House, nothing, received
from support.jitter import JitteryDatabase, MovableClock, RaceWire
from support.rounds import pause

PRICE = 10
FUNDED = frozenset({"confirm_performer", "confirmed", "dispute"})
PAID = frozenset({"close", "arb_close_performer"})
LEGAL: Mapping[str | None, frozenset[str]] = {
    None: frozenset({"created"}),
    "created": frozenset({"deny_performer", "confirm_performer", "waiting_for_payment", "cancelled", "expired"}),
    "waiting_for_payment": frozenset({"confirmed", "cancelled", "expired"}),
    "confirm_performer": frozenset({"close", "dispute"}),
    "confirmed": frozenset({"close", "dispute"}),
    "dispute": frozenset({"arb_close_performer", "arb_close_customer"}),
}
"""The state machine as the contract draws it; a status that is not named is final."""
_TOLD_TWICE = """
    SELECT envelope ->> 'aggregate', envelope ->> 'aggregate_version' FROM outbox
     GROUP BY 1, 2 HAVING count(*) > 1
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A deal of a customer who was credited so much, in smallest units."""

    deal_id: int
    customer: int
    performer: int
    credited: int = 0


@dataclass(slots=True)
class Stage:
    """The house and what a race needs of it."""

    house: House
    clock: MovableClock
    wire: RaceWire
    asked: asyncio.Event
    """Set when a funding pass was asked for, as the worker's event is."""
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def case(self, units: int = 0, **more: Any) -> Case:
        """Return a new deal between two new users, the customer credited with `units` whole ones."""
        customer = await self.house.user(next(self.numbers))
        performer = await self.house.user(next(self.numbers))
        if units:
            await self.credit(customer, units)
        deal = await self.house.deal(customer, performer, PRICE, **more)
        return Case(deal["deal_id"], customer, performer, units * USDT)

    async def funded(self) -> Case:
        """Return a deal that holds its price."""
        case = await self.case(PRICE)
        assert await self.act(case, "confirm") == 200
        return case

    async def disputed(self) -> Case:
        """Return a deal in dispute."""
        case = await self.funded()
        assert await self.dispute(case) == 200
        return case

    async def credit(self, user: int, units: int) -> None:
        """Let a deposit arrive."""
        result = await self.house.credit(user, units * USDT, f"tron:{next(self.numbers):x}:0")
        assert result["outcome"] == "applied"

    async def act(self, case: Case, path: str, key: str = "default") -> int:
        """Do an action; return the status code, which is one that the contract knows."""
        return self._code(await self.house.act(case.deal_id, path, key))

    async def dispute(self, case: Case) -> int:
        """Open a dispute; return the status code."""
        about = {"title": "Late", "description": "Two weeks"}
        return self._code(await self.house.call("deals", "POST", f"/deal/{case.deal_id}/dispute/", about))

    def _code(self, answer: httpx.Response) -> int:
        assert answer.status_code in {200, 202, 204, 409}, answer.text
        if answer.status_code == 409:
            assert answer.json()["code"] in {"pending", "illegal_transition"}, answer.text
        return answer.status_code

    async def status(self, case: Case) -> str:
        """Return a deal's status."""
        return str((await self.house.call("deals", "GET", f"/deal/{case.deal_id}")).json()["status"])

    async def units(self, user: int) -> int:
        """Return a user's balance in smallest units."""
        query = "SELECT balance::text FROM account WHERE owner = :owner AND currency = 'USDT'"
        found = await self.rows("accounts", query, owner=f"user:{user}")
        return int(found[0][0]) if found else 0

    async def rows(self, service: str, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query on a service's database."""
        databases = {"accounts": self.house.accounts_db, "deals": self.house.money.database}
        if self.house.parts is not None:
            databases["payments"] = self.house.parts.database
        async with databases[service].snapshot() as connection:
            return [tuple(row) for row in await connection.execute(sa.text(query), values)]

    async def told(self, service: str, aggregate: str) -> list[dict[str, Any]]:
        """Return the events of one aggregate, in the order of the outbox."""
        query = "SELECT envelope::text FROM outbox WHERE envelope ->> 'aggregate' = :aggregate ORDER BY id"
        return [orjson.loads(row[0]) for row in await self.rows(service, query, aggregate=aggregate)]

    async def hear_credits(self, user: int) -> None:
        """Hand every `balance.credited` of a user to deals' consumer."""
        for envelope in await self.told("accounts", f"user:{user}:USDT"):
            if envelope["type"] == "balance.credited":
                await request_funding(self.house.money, [received(envelope)])

    async def fund_when_asked(self) -> None:
        """Run the passes that were asked for, as the worker does when it is woken; no periodic pass helps."""
        for _ in range(100):
            if not self.asked.is_set():
                return
            self.asked.clear()
            while await fund_waiting_deals(self.house.money):
                await pause()
        raise AssertionError("passes ask for passes without end")

    async def work(self) -> None:
        """Do what a worker's timers do until nothing is left to do, letting every pause and lease pass."""
        for _ in range(60):
            done = await settle_due_commands(self.house.money)
            while await fund_waiting_deals(self.house.money):
                done += 1
            if not done and not await self.rows("deals", "SELECT 1 FROM money_command WHERE state = 'pending'"):
                return
            self.clock.advance(30)
        raise AssertionError("there is work without end")

    async def assert_agrees(self, case: Case) -> str:
        """Check that the deal's history is legal, told once, and that the money is where its status says."""
        status = await self.status(case)
        held = PRICE * USDT if status in FUNDED else 0
        paid = PRICE * USDT if status in PAID else 0
        assert await self.units(case.performer) == paid, status
        assert await self.units(case.customer) == case.credited - held - paid, status
        assert_legal(await self.told("deals", f"deal:{case.deal_id}"), status)
        return status

    async def prove(self) -> None:
        """Prove deals and the ledger, and that nothing is in flight."""
        await self.prove_ledger()
        found = await deals_check.check_invariants(self.house.money.database, self.house.money.accounts)
        assert found["ok"], found
        assert await self.rows("deals", "SELECT id FROM money_command WHERE state = 'pending'") == []
        assert await self.rows("deals", _TOLD_TWICE) == []

    async def prove_ledger(self) -> None:
        """Prove the ledger, that what came in is what there is, and that each change was told once."""
        ledger = await accounts_check.check_invariants(self.house.accounts_db)
        assert ledger["ok"], ledger
        inside = "SELECT COALESCE(sum(balance), 0)::text FROM account WHERE kind IN ('user', 'deal', 'withdrawal')"
        totals = ledger["external_totals"]
        came = sum(-int(total["total"]) for total in totals if total["kind"] in ("deposit", "payout"))
        assert await self.rows("accounts", inside) == [(str(came),)]
        assert await self.rows("accounts", _TOLD_TWICE) == []


def assert_legal(told: list[dict[str, Any]], status: str) -> None:
    """Check that a deal's events are a legal path to its status, each version once and in order."""
    path = [e["data"]["status"] for e in told if e["type"] != "deal.overdue"]
    steps = list(itertools.pairwise([None, *path]))
    assert all(after in LEGAL.get(before, ()) for before, after in steps), path
    assert path[-1] == status
    assert [e["aggregate_version"] for e in told] == list(range(1, len(told) + 1))


def post_apart(money: Money) -> None:
    """Let each caller post for itself, as if each were a process of its own: the wire holds one of them at a time."""
    money.poster._most, money.poster._at_once, money.poster._patience_s = 1, 1000, 0


@asynccontextmanager
async def build_stage(house: House) -> AsyncIterator[Stage]:
    """Give the house databases with pauses, a clock that can be moved and a wire that holds."""
    async with AsyncExitStack() as stack:
        ledger_db = JitteryDatabase(house.databases.url("accounts"), "accounts-race", 10)
        deals_db = JitteryDatabase(house.databases.url("deals"), "deals-race", 10)
        stack.push_async_callback(ledger_db.close)
        stack.push_async_callback(deals_db.close)
        house.accounts_db = house.accounts.state.database = ledger_db
        house.ledger = house.accounts.state.ledger = Ledger(ledger_db, nothing)
        stage = Stage(house, MovableClock(), RaceWire(house.accounts), asyncio.Event())
        client = InternalClient("http://accounts", CALLERS["deals"], transport=stage.wire)
        stack.push_async_callback(client.close)
        house.wire = stage.wire
        house.money = house.deals.state.money = replace(
            house.money,
            database=deals_db,
            accounts=HttpAccounts(client),
            clock=stage.clock,
            wanted=stage.asked.set,
        )
        post_apart(house.money)
        if house.parts is not None:
            assert house.payments is not None
            payments_db = JitteryDatabase(house.databases.url("payments"), "payments-race", 10)
            stack.push_async_callback(payments_db.close)
            house.parts = house.payments.state.parts = replace(house.parts, database=payments_db)
        yield stage
