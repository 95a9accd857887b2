"""Two scanners and two checks at once, beside the events: one sweep per wallet, one credit, one status told."""

from datetime import timedelta
from functools import partial

import pytest

from payments.use_cases import check_payments as checks
from payments.use_cases import sweep_wallet
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.check_payments import check_payments
from payments.use_cases.record_applied import record_applied
from payments.use_cases.sweep_wallet import advance_sweeps
from support.chain import USDT as CONTRACT
from support.house import USDT, received
from support.paying import Paid, Till
from support.rounds import Round, play, sizes

PAYERS = 3
UNITS = 30
STEPS = 3
"""Seen, fueled and transferred; what a check ends with is raced by itself."""
AT_ONCE = timedelta()


async def hear(till: Till, paid: Paid) -> None:
    """Do what the consumers of both services do with what was told of a payment."""
    await till.hear_receipts(paid.user)
    for envelope in await till.stage.told("accounts", f"user:{paid.user}:USDT"):
        await record_applied(till.parts, [received(envelope)])


async def assert_finished(till: Till, paid: Paid) -> None:
    """Check that the payment is credited, swept and told once, and that the wallet is empty."""
    stage = till.stage
    assert await stage.units(paid.user) == UNITS * USDT
    credited = [e["type"] for e in await stage.told("accounts", f"user:{paid.user}:USDT")]
    assert credited == ["balance.credited"]
    told = [e["type"] for e in await stage.told("payments", f"payment:{paid.payment_id}")]
    assert told == ["payment.created", "payment.succeeded"]
    query = (
        "SELECT s.id, s.step, w.status FROM sweep s JOIN wallet w ON w.id = s.wallet_id WHERE w.address = :address"
    )
    ((sweep, step, wallet),) = await stage.rows("payments", query, address=paid.address)
    assert (step, wallet) == ("swept", "transferred")
    assert [e["type"] for e in await stage.told("payments", f"sweep:{sweep}")] == ["payment.swept"]
    assert await till.gateway.chain.balance(CONTRACT, paid.address) == 0


@sizes(3)
async def test_two_scanners_and_two_checks_credit_and_sweep_once(
    till: Till, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CREDIT_AFTER", timedelta())  # the check credits beside the event

    async def one(round_: Round) -> None:
        main = await till.gateway.chain.balance(CONTRACT, till.gateway.main_address)
        users = [await till.stage.house.user(next(till.stage.numbers)) for _ in range(PAYERS)]
        paid = [await till.paid(user, UNITS) for user in users]
        await till.node.settle()
        for _ in range(STEPS):
            check = partial(check_payments, till.parts, AT_ONCE)
            await round_.race(till.scan, till.scan, check, check, *(partial(hear, till, p) for p in paid))
            await till.settle()
        for step in (
            partial(advance_sweeps, till.parts, till.gateway, AT_ONCE),
            partial(checks.finish_payments, till.parts, till.gateway),
        ):
            await round_.race(step, step, step)
        for payment in paid:
            await assert_finished(till, payment)
        swept = await till.gateway.chain.balance(CONTRACT, till.gateway.main_address) - main
        assert swept == PAYERS * UNITS * USDT

    await play(rounds, one, at_once=1)
    assert (await check_invariants(till.parts))["ok"]
    await till.stage.prove()


@sizes(3)
async def test_workers_whose_leases_have_lapsed_send_each_step_once(
    till: Till, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_wallet, "LEASE", timedelta())  # as if each slept through its own
    sent = "SELECT o.purpose, o.state FROM outgoing o JOIN sweep s ON s.id = o.sweep_id JOIN wallet w"
    sent += " ON w.id = s.wallet_id WHERE w.address = :address ORDER BY o.id"

    async def one(round_: Round) -> None:
        user = await till.stage.house.user(next(till.stage.numbers))
        paid = await till.paid(user, UNITS)
        await till.settle()
        await hear(till, paid)
        for _ in range(STEPS):
            check = partial(check_payments, till.parts, AT_ONCE)
            await round_.race(check, check, check)
            await till.settle()
        await advance_sweeps(till.parts, till.gateway, AT_ONCE)
        await checks.finish_payments(till.parts, till.gateway)
        assert await till.stage.rows("payments", sent, address=paid.address) == [
            ("fuel", "succeeded"),
            ("transfer", "succeeded"),
        ]
        await assert_finished(till, paid)

    await play(rounds, one, at_once=1)
    assert (await check_invariants(till.parts))["ok"]
