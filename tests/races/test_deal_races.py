"""Actions of one deal that race: exactly one wins, the others are told so, and the money follows the winner."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from deals.use_cases import pass_deadlines as deadlines
from deals.use_cases.pass_deadlines import pass_deadlines
from deals.use_cases.settle_commands import Money, settle_due_commands
from support.house import USDT
from support.jitter import MovableClock
from support.racing import PRICE, Case, Stage
from support.rounds import Round, after, assert_seen, play, sizes

EACH = 2
SIDE_BY_SIDE = 4
DEADLINE_S = 30
DENIES_WITHIN_S = 0.02
EXPIRES_WITHIN_S = 0.08


@sizes(6)
async def test_close_and_dispute_have_one_winner(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> str:
        case = await stage.funded()
        codes = await round_.race(
            *[lambda: stage.act(case, "close")] * EACH,
            *[lambda: stage.dispute(case)] * EACH,
        )
        return await one_of_two(stage, case, codes, ("close", {200, 202}), ("dispute", {200}))

    assert_seen({"close", "dispute"}, await play(rounds, one), rounds)
    await stage.prove()


@sizes(6)
async def test_two_awards_of_one_dispute_have_one_winner(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> str:
        case = await stage.disputed()
        codes = await round_.race(
            *[lambda: stage.act(case, "dispute/close_performer", "arbiter")] * EACH,
            *[lambda: stage.act(case, "dispute/close_customer", "arbiter")] * EACH,
        )
        return await one_of_two(
            stage, case, codes, ("arb_close_performer", {200, 202}), ("arb_close_customer", {200, 202})
        )

    assert_seen({"arb_close_performer", "arb_close_customer"}, await play(rounds, one), rounds)
    await stage.prove()


@sizes(6)
async def test_confirm_and_deny_have_one_winner(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> str:
        enough = round_.random.random() < 0.5
        case = await stage.case(PRICE if enough else 0)
        codes = await round_.race(
            *[lambda: stage.act(case, "confirm")] * EACH,
            *[after(round_.random.random() * DENIES_WITHIN_S, lambda: stage.act(case, "deny"))] * EACH,
        )
        confirmed = "confirm_performer" if enough else "waiting_for_payment"
        return await one_of_two(stage, case, codes, (confirmed, {200, 202}), ("deny_performer", {204}))

    ends = {"deny_performer", "confirm_performer", "waiting_for_payment"}
    assert_seen(ends, await play(rounds, one), rounds)
    await stage.work()
    await stage.prove()


async def one_of_two(
    stage: Stage, case: Case, codes: list[int], first: tuple[str, set[int]], second: tuple[str, set[int]]
) -> str:
    """Check that one side won with one of its codes and the other side heard 409; return the status."""
    status = await stage.assert_agrees(case)
    sides = ((first, codes[:EACH]), (second, codes[EACH:]))
    assert status in {first[0], second[0]}
    for (wanted, winning), heard in sides:
        assert set(heard) <= (winning if status == wanted else {409}), (status, codes)
    return status


@sizes(4)
async def test_a_denial_while_the_ledger_does_not_answer_the_confirmation_waits(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> None:
        cases = [await stage.case(PRICE) for _ in range(SIDE_BY_SIDE)]
        await round_.race(*(partial(deny_in_the_dark, stage, case, round_) for case in cases))
        stage.clock.advance(30)
        codes = await round_.race(*(partial(stage.act, case, "deny") for case in cases), partial(settle, stage))
        assert set(codes[:-1]) == {409}
        for case in cases:
            assert await stage.assert_agrees(case) == "confirm_performer"
            assert await stage.act(case, "deny") == 409

    await play(rounds, one, at_once=1)
    await stage.prove()


async def deny_in_the_dark(stage: Stage, case: Case, round_: Round) -> None:
    """Deny while the confirmation's posting is not answered: it must hear that the confirmation is pending."""
    held = stage.wire.hold(f"deal:{case.deal_id}:hold:1", before=round_.random.random() < 0.5)
    confirming = asyncio.create_task(stage.act(case, "confirm"))
    await held.reached.wait()
    during = await stage.house.act(case.deal_id, "deny")
    held.release(fails=True)
    confirmed = await confirming
    after = await stage.house.act(case.deal_id, "deny")
    assert confirmed == 202
    assert [(a.status_code, a.json()["code"]) for a in (during, after)] == [(409, "pending")] * 2


async def settle(stage: Stage) -> int:
    """Do the worker's work; no code."""
    await stage.work()
    return 0


def past_the_deadline(stage: Stage) -> Money:
    """Return the hands of a worker whose clock is past the deadline, and past every lease."""
    clock = MovableClock()
    clock.advance((stage.clock.now() - clock.now()).total_seconds() + DEADLINE_S + 10)
    return replace(stage.house.money, clock=clock)


@sizes(6)
async def test_a_deadline_and_a_payment_have_one_winner(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> set[str]:
        soon = (stage.clock.now() + timedelta(seconds=DEADLINE_S)).isoformat()
        cases = [await stage.case(deadline_at=soon) for _ in range(SIDE_BY_SIDE)]
        for case in cases:
            assert await stage.act(case, "confirm") == 200
        late = past_the_deadline(stage)

        async def pay(case: Case) -> None:
            await stage.credit(case.customer, PRICE)
            await stage.hear_credits(case.customer)
            await stage.fund_when_asked()

        async def expire() -> None:
            await pass_deadlines(late)
            await settle_due_commands(late)

        expiring = [after(round_.random.random() * EXPIRES_WITHIN_S, expire) for _ in range(EACH)]
        await round_.race(*expiring, *(partial(pay, case) for case in cases))
        stage.clock.advance(DEADLINE_S + 10)
        await stage.work()
        await pass_deadlines(stage.house.money)
        paid = [replace(case, credited=PRICE * USDT) for case in cases]
        return {await expired_or_overdue(stage, case) for case in paid}

    seen = await play(rounds, one, at_once=1)
    assert_seen({"confirmed", "expired"}, set().union(*seen), rounds)
    await stage.prove()


async def test_a_deal_that_the_ledger_keeps_from_ending_holds_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "BATCH", 1)
    soon = stage.clock.now() + timedelta(seconds=DEADLINE_S)
    stuck = await stage.case(PRICE, deadline_at=soon.isoformat())
    unpaid = await stage.case(deadline_at=(soon + timedelta(seconds=1)).isoformat())
    stage.wire.cut = True
    assert await stage.act(stuck, "confirm") == 202
    stage.clock.advance(DEADLINE_S + 2)

    for _ in range(2):
        await pass_deadlines(stage.house.money)

    assert [await stage.status(case) for case in (stuck, unpaid)] == ["created", "expired"]
    stage.wire.cut = False
    await stage.work()
    assert await stage.assert_agrees(stuck) == "expired"
    await stage.prove()


async def expired_or_overdue(stage: Stage, case: Case) -> str:
    """Check that the deal expired unpaid, or is paid and was told overdue once; return the status."""
    status = await stage.assert_agrees(case)
    told = [e["type"] for e in await stage.told("deals", f"deal:{case.deal_id}")]
    assert told.count("deal.overdue") == (1 if status == "confirmed" else 0), told
    return status
