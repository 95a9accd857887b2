"""Money that arrives, or is taken, while a hold is in flight: no wake-up is lost and no unit is held twice.

Nothing here calls the periodic request for all passes: only what the events and the rejections ask for is run.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from accounts.use_cases import manage_keys
from deals.use_cases import fund_waiting_deals as funding
from deals.use_cases.fund_waiting_deals import fund_waiting_deals
from deals.use_cases.settle_commands import settle_due_commands
from support.house import USDT
from support.racing import PRICE, Case, Stage
from support.rounds import Round, after, assert_seen, play, sizes

SIDE_BY_SIDE = 6
PAYS_WITHIN_S = 0.2
LEASE_S = 25
NOISY_TENANTS = 3


async def pay(stage: Stage, case: Case) -> None:
    """Let the customer's money arrive, and be heard of."""
    await stage.credit(case.customer, PRICE)
    await stage.hear_credits(case.customer)
    await stage.fund_when_asked()


async def confirmed_by_now(stage: Stage, cases: list[Case]) -> set[str]:
    """Run the passes that were asked for and nothing else; return how the deals, now paid for, agree."""
    await stage.fund_when_asked()
    return {await stage.assert_agrees(replace(case, credited=PRICE * USDT)) for case in cases}


@sizes(5)
async def test_a_credit_beside_a_confirmation_funds_the_deal(stage: Stage, rounds: int) -> None:
    async def confirm(case: Case) -> None:
        assert await stage.act(case, "confirm") in {200, 202}
        await stage.fund_when_asked()

    async def one(round_: Round) -> set[str]:
        cases = [await stage.case() for _ in range(SIDE_BY_SIDE)]
        confirming = [partial(confirm, case) for case in cases * 2]
        paying = [after(round_.random.random() * PAYS_WITHIN_S, partial(pay, stage, case)) for case in cases]
        await round_.race(*confirming, *paying)
        return await confirmed_by_now(stage, cases)

    found = await play(rounds, one, at_once=1)
    assert_seen({"confirm_performer", "confirmed"}, set().union(*found), rounds)
    await stage.prove()


@sizes(5)
async def test_a_credit_before_the_rejection_is_recorded_funds_the_deal(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> set[str]:
        cases = [await stage.case() for _ in range(SIDE_BY_SIDE)]
        await round_.race(*(partial(pay_before_the_record, stage, case, round_) for case in cases))
        return await confirmed_by_now(stage, cases)

    assert set().union(*await play(rounds, one, at_once=1)) == {"confirmed"}
    await stage.prove()


async def pay_before_the_record(stage: Stage, case: Case, round_: Round) -> None:
    """Confirm; pay once the ledger has rejected the hold, which deals hears only later than, or beside, the event."""
    key = f"deal:{case.deal_id}:hold:1"
    held = stage.wire.hold(key, before=False)
    confirming = asyncio.create_task(stage.act(case, "confirm"))
    await held.reached.wait()
    assert await stage.rows("accounts", "SELECT outcome FROM operation WHERE key = :key", key=key) == [
        ("rejected",)
    ]
    await stage.credit(case.customer, PRICE)
    if round_.random.random() < 0.5:
        await stage.hear_credits(case.customer)
        await stage.fund_when_asked()
    assert await stage.status(case) == "created"

    async def release() -> None:
        held.release()
        assert await confirming == 200

    await round_.race(release, partial(stage.hear_credits, case.customer))
    await stage.fund_when_asked()


@sizes(5)
async def test_a_late_record_of_a_rejection_leaves_the_next_attempt_alone(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> None:
        case = await stage.case()
        first = stage.wire.hold(f"deal:{case.deal_id}:hold:1", before=False)
        stopped = asyncio.create_task(stage.act(case, "confirm"))
        await first.reached.wait()
        stage.clock.advance(LEASE_S)
        await settle_due_commands(stage.house.money)  # another worker has the same answer, and records it
        assert await stage.status(case) == "waiting_for_payment"
        second = stage.wire.hold(f"deal:{case.deal_id}:hold:2", before=round_.random.random() < 0.5)
        paying = asyncio.create_task(pay(stage, case))
        await second.reached.wait()  # the next attempt is in flight
        before = await everything(stage, case)
        first.release()
        assert await stopped == 200
        assert await everything(stage, case) == before
        second.release()
        await paying
        assert await stage.assert_agrees(replace(case, credited=PRICE * USDT)) == "confirmed"

    await play(rounds, one, at_once=1)
    await stage.prove()


@sizes(6)
async def test_two_records_of_one_answer_change_the_deal_once(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> str:
        case = await (stage.case(PRICE) if round_.random.random() < 0.5 else stage.funded())
        action = "confirm" if await stage.status(case) == "created" else "close"
        key = "hold:1" if action == "confirm" else "release:2"
        held = stage.wire.hold(f"deal:{case.deal_id}:{key}", before=False)
        stopped = asyncio.create_task(stage.act(case, action))
        await held.reached.wait()
        stage.clock.advance(LEASE_S)

        async def release() -> None:
            held.release()
            assert await stopped in {200, 202}

        async def work() -> None:
            await settle_due_commands(stage.house.money)

        await round_.race(release, work, work)
        return await stage.assert_agrees(case)

    assert_seen({"confirm_performer", "close"}, await play(rounds, one, at_once=1), rounds)
    await stage.prove()


async def everything(stage: Stage, case: Case) -> list[tuple[Any, ...]]:
    """Return all that deals has stored about a deal."""
    found: list[tuple[Any, ...]] = []
    for query in (
        "SELECT d::text FROM deal d WHERE id = :id",
        "SELECT c::text FROM money_command c WHERE deal_id = :id ORDER BY id",
        "SELECT f.wanted, f.done FROM funding f JOIN deal d USING (customer_id) WHERE d.id = :id",
        "SELECT id FROM outbox WHERE envelope ->> 'aggregate' = 'deal:' || CAST(:id AS bigint) ORDER BY id",
    ):
        found += await stage.rows("deals", query, id=case.deal_id)
    return found


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of its own, with a customer who has money and a performer."""

    name: str
    customer: int
    performer: int


async def noisy_tenant(stage: Stage, name: str) -> Tenant:
    """Return a new tenant with money for a good many deals."""
    tenant_id = await manage_keys.create_tenant(stage.house.accounts_db, name)
    _, key = await manage_keys.create_key(stage.house.accounts_db, tenant_id, ["default"])
    stage.house.keys[name] = key
    customer, performer = await stage.house.user(1, key=name), await stage.house.user(2, key=name)
    result = await stage.house.credit(customer, 1_000 * PRICE * USDT, f"tron:{name}:0", tenant_id)
    assert result["outcome"] == "applied"
    return Tenant(name, customer, performer)


async def make_noise(stage: Stage, tenant: Tenant) -> int:
    """Play a deal of another tenant from beginning to end; return the last code."""
    body = {
        "title": "t",
        "description": "d",
        "price": PRICE,
        "customer_id": tenant.customer,
        "performer_id": tenant.performer,
    }
    deal = (await stage.house.call("deals", "POST", "/deal/", body, tenant.name)).json()
    for path, status in (("confirm", "confirm_performer"), ("close", "close")):
        answer = await stage.house.act(deal["deal_id"], path, tenant.name)
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    return 200


@sizes(5)
async def test_confirmations_beside_foreign_debits_hold_what_the_balance_allows(stage: Stage, rounds: int) -> None:
    tenants = [await noisy_tenant(stage, f"noisy-{n}") for n in range(NOISY_TENANTS)]

    async def one(round_: Round) -> None:
        afford, wanted = round_.random.randint(1, 3), round_.random.randint(3, 6)
        first = await stage.case(PRICE * afford)
        others = [await stage.house.deal(first.customer, first.performer, PRICE) for _ in range(wanted - 1)]
        cases = [first, *(replace(first, deal_id=deal["deal_id"]) for deal in others)]
        confirming = [partial(stage.act, case, "confirm") for case in cases * 2]
        codes = await round_.race(*confirming, *(partial(make_noise, stage, tenant) for tenant in tenants))
        await stage.fund_when_asked()
        assert set(codes) <= {200, 202}
        found = sorted([await stage.status(case) for case in cases])
        funded = min(afford, wanted)
        assert found == ["confirm_performer"] * funded + ["waiting_for_payment"] * (wanted - funded)
        assert await stage.units(first.customer) == (afford - funded) * PRICE * USDT

    await play(rounds, one, at_once=3)
    await stage.prove()


@sizes(5)
async def test_passes_whose_leases_have_lapsed_hold_what_the_balance_allows(
    stage: Stage, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(funding, "PASS_LEASE", timedelta())  # as if each slept through its own

    async def one(round_: Round) -> None:
        wanted, afford = 6, round_.random.randint(1, 5)
        first = await stage.case()
        others = [await stage.house.deal(first.customer, first.performer, PRICE) for _ in range(wanted - 1)]
        cases = [first, *(replace(first, deal_id=deal["deal_id"]) for deal in others)]
        for case in cases:
            assert await stage.act(case, "confirm") == 200
        await stage.fund_when_asked()
        await stage.credit(first.customer, PRICE * afford)
        await stage.hear_credits(first.customer)
        await round_.race(*[partial(fund_waiting_deals, stage.house.money)] * 4)
        await stage.work()
        await stage.fund_when_asked()
        found = sorted([await stage.status(case) for case in cases])
        assert found == ["confirmed"] * afford + ["waiting_for_payment"] * (wanted - afford)
        assert await stage.units(first.customer) == 0

    await play(rounds, one, at_once=1)
    await stage.prove()
