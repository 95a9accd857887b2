"""Withdrawals as callers see them: limits, approval, cancelling, and what is refused, on the real ledger."""

import asyncio

from payments.use_cases.advance_withdrawals import advance_withdrawals
from support.cashier import gateway_of, parts_of, rows
from support.chain import USDT as CONTRACT
from support.chain import SandboxNode, address_of, new_key
from support.contracts import check_event
from support.house import TRX, USDT, House
from support.withdrawing import all_is_right, ask, asked, begin, decide, on_chain, read, settle

ZERO = "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb"


async def test_a_withdrawal_is_held_sent_and_booked(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())

    answer = await ask(house, alice, "12.5", to)
    held = await house.balance(alice)
    assert await advance_withdrawals(parts_of(house)) > 0, "the worker goes on with it at once"
    await settle(house, node)

    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert held == "1987.500000"
    done = await read(house, answer.json()["withdrawal_id"])
    assert (done["status"], done["amount"], done["address"], done["reason"]) == ("success", "12.500000", to, None)
    assert await on_chain(house, to) == 12_500_000
    assert await house.balance(alice) == "1987.500000"
    told = [e for e in await house.outbox("payments") if e["type"].startswith("withdrawal.")]
    for envelope in told:
        check_event(envelope)
    assert [e["type"] for e in told] == ["withdrawal.requested", "withdrawal.sent", "withdrawal.succeeded"]
    assert [e["data"]["txid"] for e in told] == [None, done["txid"], done["txid"]]
    kinds = await rows(
        house, "SELECT kind FROM booking WHERE kind <> 'funding' AND applied_at IS NOT NULL ORDER BY 1"
    )
    assert kinds == [("fee",), ("payout",)]
    await all_is_right(house)


async def test_trx_is_paid_out_too(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())

    withdrawal = await asked(house, alice, "7", to, currency="TRX")
    await settle(house, node)

    assert (await read(house, withdrawal))["status"] == "success"
    assert await gateway_of(house).chain.balance("TRX", to) == 7 * TRX
    await all_is_right(house)


async def test_bad_requests_change_nothing(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    gateway = gateway_of(house)
    body = {"gateway_id": "tron_usdt", "user_id": alice, "amount": "5", "currency": "USDT"}
    deposit = (await house.call("payments", "POST", "/payment", body)).json()["gateway_data"]["address"]
    good = address_of(new_key())
    typo = good[:-1] + ("a" if good[-1] != "a" else "b")

    for to in (
        typo,
        ZERO,
        "",
        "T" * 34,
        "0x" + "00" * 20,
        gateway.main_address,
        gateway.fuel_address,
        CONTRACT,
        deposit,
    ):
        answer = await ask(house, alice, "10", to or " ")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_withdrawal"), to
        assert "address" in answer.json()["detail"]
    for amount in ("0", "-1", "0.0000001", "1000.000001"):
        assert (await ask(house, alice, amount)).status_code == 422, amount
    assert (await ask(house, alice + 99, "10")).status_code == 404
    assert (await ask(house, alice, "10", key="default")).status_code == 403
    poor = await house.user(2, "Bob")
    answer = await ask(house, poor, "10")
    assert (answer.status_code, answer.json()["code"]) == (409, "insufficient_funds")

    assert await house.balance(alice) == "2000.000000"
    assert await rows(house, "SELECT status, reason FROM withdrawal") == [("rejected", "insufficient_funds")]
    await settle(house, node)
    assert await rows(house, "SELECT 1 FROM outgoing") == []
    await all_is_right(house)


async def test_another_tenant_sees_and_decides_nothing(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    withdrawal = await asked(house, alice, "600")

    assert (await read(house, withdrawal, "other"))["http"] == 404
    assert (await decide(house, withdrawal, "cancel", "other")).status_code == 403
    async with house.client("payments", "other") as client:
        assert (await client.get("/api/v1/payment/withdrawal")).json() == {"withdrawals": [], "next": None}


async def test_the_same_call_again_is_one_withdrawal(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())

    first = await ask(house, alice, "10", to, once="one")
    again = await ask(house, alice, "10", to, once="one")
    other = await ask(house, alice, "11", to, once="one")
    await settle(house, node)
    after = await ask(house, alice, "10", to, once="one")

    assert first.json()["withdrawal_id"] == again.json()["withdrawal_id"] == after.json()["withdrawal_id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert after.json()["status"] == "success"
    assert await on_chain(house, to) == 10 * USDT


async def test_an_empty_balance_is_told_again_to_the_same_call(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    await begin(house, node)
    poor = await house.user(2, "Bob")
    to = address_of(new_key())

    for _ in range(2):
        answer = await ask(house, poor, "10", to, once="poor")
        assert (answer.status_code, answer.json()["code"]) == (409, "insufficient_funds")
    assert await rows(house, "SELECT count(*) FROM withdrawal") == [(1,)]


async def test_a_key_may_withdraw_so_much_a_day(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node, money=10_000)
    for _ in range(10):
        await asked(house, alice, "500")

    answer = await ask(house, alice, "1")
    other_key = await ask(house, alice, "1", key="approve")
    other_currency = await ask(house, alice, "1", currency="TRX")
    await rows(house, "UPDATE withdrawal SET created_at = created_at - interval '25 hours'")
    next_day = await ask(house, alice, "1")

    assert (answer.status_code, answer.json()["code"]) == (409, "withdrawal_limit")
    assert "WITHDRAWAL_LIMITS" in answer.json()["detail"]
    assert [a.status_code for a in (other_key, other_currency, next_day)] == [200, 200, 200]


async def test_callers_of_one_key_at_once_stay_within_its_limit(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node, money=10_000)

    answers = await asyncio.gather(*(ask(house, alice, "450") for _ in range(15)))

    assert sorted(a.status_code for a in answers) == [200] * 11 + [409] * 4
    assert await house.balance(alice) == f"{10_000 - 11 * 450}.000000"


async def test_a_large_one_waits_for_another_key(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())
    withdrawal = await asked(house, alice, "500.000001", to, key="approve")
    await settle(house, node)
    assert (await read(house, withdrawal))["status"] == "awaiting_approval"

    own = await decide(house, withdrawal, "approve", "approve")
    unfit = await decide(house, withdrawal, "approve", "withdraw")
    small = await asked(house, alice, "1")
    needless = await decide(house, small, "approve", "approve")
    larger = await asked(house, alice, "600", to)
    approved = [await decide(house, larger, "approve", "approve") for _ in range(2)]
    await settle(house, node)

    assert (own.status_code, own.json()["code"]) == (409, "illegal_decision")
    assert (unfit.status_code, needless.status_code) == (403, 409)
    assert [a.status_code for a in approved] == [200, 200]
    assert (await read(house, withdrawal))["status"] == "awaiting_approval"
    assert (await read(house, larger))["status"] == "success"
    assert await on_chain(house, to) == 600 * USDT


async def test_a_cancelled_one_gives_the_money_back(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    waiting, queued, sent = [await asked(house, alice, amount) for amount in ("600", "10", "20")]
    await rows(house, f"UPDATE withdrawal SET due_at = now() + interval '1 h' WHERE id <> {sent}")
    await rows(house, f"UPDATE withdrawal SET due_at = now() WHERE id = {sent}")
    await advance_withdrawals(parts_of(house))

    answers = [await decide(house, w, "cancel", "withdraw") for w in (waiting, queued, sent)]
    again = await decide(house, waiting, "cancel", "approve")
    await settle(house, node)

    assert [a.status_code for a in answers] == [200, 200, 409]
    assert again.status_code == 200
    assert [(await read(house, w))["status"] for w in (waiting, queued, sent)] == [
        "cancelled",
        "cancelled",
        "success",
    ]
    assert await house.balance(alice) == "1980.000000"
    await all_is_right(house)
