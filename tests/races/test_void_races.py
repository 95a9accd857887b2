"""A hold that is voided while its posting is still on the way: voided or applied, never both."""

import asyncio
from datetime import timedelta
from functools import partial

import httpx
import pytest

from deals.use_cases.pass_deadlines import pass_deadlines
from deals.use_cases.settle_commands import settle_due_commands
from support.racing import PRICE, Case, Stage
from support.rounds import Round, after, assert_seen, play, sizes

DEADLINE_S = 30
SIDE_BY_SIDE = 6
ARRIVES_WITHIN_S = 0.03


async def outcome(stage: Stage, case: Case) -> str:
    """Return the ledger's outcome for the deal's only hold, which deals must have recorded alike."""
    key = f"deal:{case.deal_id}:hold:1"
    ((in_ledger,),) = await stage.rows("accounts", "SELECT outcome FROM operation WHERE key = :key", key=key)
    ((in_deals,),) = await stage.rows("deals", "SELECT state FROM money_command WHERE key = :key", key=key)
    assert in_ledger == in_deals
    return str(in_ledger)


async def late_arrivals(stage: Stage, cases: list[Case], round_: Round) -> None:
    """Let the kept postings arrive, twice each, while two workers void the same holds."""

    async def arrive(case: Case) -> None:
        await stage.wire.deliver(f"deal:{case.deal_id}:hold:1", times=2)

    async def work() -> None:
        await settle_due_commands(stage.house.money)

    arriving = [after(round_.random.random() * ARRIVES_WITHIN_S, partial(arrive, case)) for case in cases]
    await round_.race(work, work, *arriving)


async def ended(stage: Stage, case: Case, as_: str) -> str:
    """Check that deals and ledger agree on the deal's only hold, and the deal with it; return the outcome."""
    key = f"deal:{case.deal_id}:hold:1"
    ((in_ledger,),) = await stage.rows("accounts", "SELECT outcome FROM operation WHERE key = :key", key=key)
    ((in_deals,),) = await stage.rows("deals", "SELECT state FROM money_command WHERE key = :key", key=key)
    assert in_ledger == in_deals
    assert await stage.assert_agrees(case) == {"voided": as_, "applied": "confirm_performer"}[in_ledger]
    return str(in_ledger)


@sizes(5)
async def test_a_cancelled_hold_that_arrives_late_is_voided_or_applied(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> set[str]:
        cases = [await stage.case(PRICE) for _ in range(SIDE_BY_SIDE)]
        for case in cases:
            stage.wire.delay(f"deal:{case.deal_id}:hold:1")
            assert await stage.act(case, "confirm") == 202
            assert await stage.act(case, "cancel") == 202
        stage.clock.advance(1)
        await late_arrivals(stage, cases, round_)
        await stage.work()
        return {await ended(stage, case, "cancelled") for case in cases}

    found = await play(rounds, one, at_once=1)
    assert_seen({"voided", "applied"}, set().union(*found), rounds)
    await stage.prove()


@sizes(5)
async def test_an_expired_hold_that_arrives_late_is_voided_or_applied(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> set[str]:
        soon = (stage.clock.now() + timedelta(seconds=DEADLINE_S)).isoformat()
        cases = [await stage.case(PRICE, deadline_at=soon) for _ in range(SIDE_BY_SIDE)]
        for case in cases:
            stage.wire.delay(f"deal:{case.deal_id}:hold:1")
            assert await stage.act(case, "confirm") == 202
        stage.clock.advance(DEADLINE_S + 1)
        await pass_deadlines(stage.house.money)
        await late_arrivals(stage, cases, round_)
        await stage.work()
        return {await ended(stage, case, "expired") for case in cases}

    found = await play(rounds, one, at_once=1)
    assert_seen({"voided", "applied"}, set().union(*found), rounds)
    await stage.prove()


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "confirm-it"}])
async def test_a_confirmation_that_a_cancel_overtook_is_told_that_it_lost(
    stage: Stage, headers: dict[str, str]
) -> None:
    case = await stage.case(PRICE)

    async def confirm() -> httpx.Response:
        async with stage.house.client("deals") as client:
            return await client.post(f"/api/v1/deal/{case.deal_id}/confirm", headers=headers)

    held = stage.wire.hold(f"deal:{case.deal_id}:hold:1", before=True)
    confirming = asyncio.create_task(confirm())
    await held.reached.wait()
    assert await stage.act(case, "cancel") == 202
    await settle_due_commands(stage.house.money)
    held.release()

    for answer in (await confirming, await confirm()):
        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
        assert (answer.json()["status_of_deal"], answer.json()["allowed_actions"]) == ("cancelled", [])
    assert await stage.assert_agrees(case) == "cancelled"
    await stage.prove()
