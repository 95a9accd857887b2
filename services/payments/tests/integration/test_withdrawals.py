"""Withdrawals on real PostgreSQL and the sandbox node, with the real ledger and the real signer behind them."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest

from common.errors import Unavailable
from payments.domain.ports import Gateway
from payments.use_cases.advance_withdrawals import advance_withdrawals
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.context import Payments
from payments.use_cases.post_bookings import post_bookings
from payments.use_cases.scan_chain import scan_chain
from support.chain import USDT as CONTRACT
from support.chain import SandboxNode, address_of, new_key
from support.contracts import check_event
from support.house import TRX, USDT, House
from tron_sandbox.addresses import to_base58
from tron_sandbox.evm import PAYOUT

ZERO = "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb"
ROUNDS = 4


def parts_of(house: House) -> Payments:
    assert house.parts is not None
    return house.parts


def gateway_of(house: House, name: str = "tron_usdt") -> Gateway:
    return parts_of(house).gateways[name]


async def begin(house: House, node: SandboxNode, money: int = 2_000, main_usdt: str = "5000") -> int:
    """Fill the main wallet, start the scanner, and return a user who has money in both currencies."""
    gateway = gateway_of(house)
    await node.admin("faucet", address=gateway.fuel_address, trx="10000")
    await node.admin("faucet", address=gateway.main_address, trx="10000", usdt=main_usdt)
    await node.settle()
    await scan_chain(parts_of(house), gateway)
    user = await house.user(1, "Alice")
    for currency in ("USDT", "TRX"):
        given = await house.credit(user, money * USDT, f"test:{currency}", currency=currency)
        assert given["outcome"] == "applied"
    return user


async def ask(
    house: House,
    user: int,
    amount: Any = "10",
    to: str | None = None,
    *,
    key: str = "withdraw",
    once: str | None = None,
    currency: str = "USDT",
) -> httpx.Response:
    body = {
        "gateway_id": f"tron_{currency.lower()}",
        "user_id": user,
        "amount": amount,
        "currency": currency,
        "address": to or address_of(new_key()),
    }
    headers = {"idempotency-key": once} if once else {}
    async with house.client("payments", key) as client:
        return await client.post("/api/v1/payment/withdrawal", json=body, headers=headers)


async def asked(house: House, user: int, amount: Any = "10", to: str | None = None, **more: Any) -> int:
    answer = await ask(house, user, amount, to, **more)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["withdrawal_id"])


async def read(house: House, withdrawal: int, key: str = "withdraw") -> dict[str, Any]:
    async with house.client("payments", key) as client:
        answer = await client.get(f"/api/v1/payment/withdrawal/{withdrawal}")
    found: dict[str, Any] = answer.json() | {"http": answer.status_code}
    return found


async def decide(house: House, withdrawal: int, action: str, key: str) -> httpx.Response:
    async with house.client("payments", key) as client:
        return await client.post(f"/api/v1/payment/withdrawal/{withdrawal}/{action}")


async def due(house: House) -> None:
    """Let no withdrawal wait for its turn."""
    await rows(house, "UPDATE withdrawal SET due_at = now() - interval '1 s'")


async def step(house: House) -> None:
    await due(house)
    await advance_withdrawals(parts_of(house))


async def settle(house: House, node: SandboxNode) -> None:
    """Take every withdrawal as far as it goes while the chain goes on."""
    for _ in range(3):
        await step(house)
        await node.settle()
        await scan_chain(parts_of(house), gateway_of(house))
    await step(house)
    await step(house)
    await post_bookings(parts_of(house))


async def rows(house: House, query: str) -> list[Any]:
    connection = await asyncpg.connect(house.databases.owner_url("payments"))
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def on_chain(house: House, address: str) -> int:
    return await gateway_of(house).chain.balance(CONTRACT, address)


async def all_is_right(house: House) -> None:
    """Prove payments' invariants but for the deposits that this test gave without a chain."""
    found = await check_invariants(parts_of(house))
    wrong = {name: some for name, some in found["violations"].items() if some}
    given = [v for v in wrong.pop("credited_without_deposit", []) if not v["key"].startswith("test:")]
    assert (wrong, given) == ({}, [])


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


async def test_twenty_equal_payouts_in_one_millisecond_are_twenty_transfers(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())
    frozen = parts_of(house).clock.now()

    class Standing:
        def now(self) -> Any:
            return frozen

    for _ in range(20):
        await asked(house, alice, "3", to)
    moving = parts_of(house)
    house.parts = replace(moving, clock=Standing())
    await rows(house, "UPDATE withdrawal SET due_at = now() - interval '1 h'")
    await advance_withdrawals(parts_of(house))
    txids = await rows(house, "SELECT DISTINCT txid FROM outgoing WHERE purpose = 'payout'")
    house.parts = moving
    await settle(house, node)

    assert len(txids) == 20
    assert await on_chain(house, to) == 60 * USDT
    assert await rows(house, "SELECT DISTINCT status FROM withdrawal") == [("success",)]
    await all_is_right(house)


async def test_one_that_can_not_be_paid_holds_up_no_other(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node, main_usdt="100")
    too_much, good = await asked(house, alice, "450"), await asked(house, alice, "30")

    await settle(house, node)

    waiting = await read(house, too_much)
    assert (waiting["status"], (await read(house, good))["status"]) == ("queued", "success")
    assert waiting["waits_for"] == "main_wallet_short"
    await node.admin("faucet", address=gateway_of(house).main_address, usdt="1000")
    await settle(house, node)
    assert (await read(house, too_much))["status"] == "success"
    await all_is_right(house)


async def out_of_energy(house: House, node: SandboxNode) -> None:
    """Sign and send; energy costs ten times as much before the block comes."""
    await step(house)
    await node.admin("parameters", getEnergyFee=1_000)


async def reverted(house: House, node: SandboxNode) -> None:
    """Sign; the token is paused before the node has the transaction."""
    await node.admin("faults", endpoint="wallet/broadcasthex", kind="drop_before", count=1)
    await step(house)
    await node.admin("token", pause=True)
    await node.mine()


@pytest.mark.parametrize(("trouble", "why"), [(out_of_energy, "OUT_OF_ENERGY"), (reverted, "REVERT")])
async def test_what_fails_on_the_chain_is_back_on_the_balance(
    paying_house: House, tron_node: SandboxNode, trouble: Any, why: str
) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())
    withdrawal = await asked(house, alice, "40", to)

    try:
        await trouble(house, node)
        await settle(house, node)
    finally:
        await node.admin("token", pause=False)
        await node.admin("parameters", getEnergyFee=100)

    found = await read(house, withdrawal)
    assert (found["status"], "failed on the chain" in found["reason"]) == ("failed", True)
    info = await node.ask("wallet/gettransactioninfobyid", value=found["txid"])
    assert info["receipt"]["result"] == why
    assert await house.balance(alice) == "2000.000000"
    assert await on_chain(house, to) == 0
    fees = await rows(house, "SELECT amount > 0, applied_at IS NOT NULL FROM booking WHERE kind = 'fee'")
    assert fees == [(True, True)]
    await all_is_right(house)


async def test_a_paused_token_keeps_withdrawals_waiting(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    await node.admin("token", pause=True)
    await node.settle()
    withdrawal = await asked(house, alice, "40")

    await settle(house, node)
    waiting = await read(house, withdrawal)
    await node.admin("token", pause=False)
    await node.settle()
    await settle(house, node)

    assert (waiting["status"], waiting["waits_for"]) == ("queued", "contract_refuses")
    assert (await read(house, withdrawal))["status"] == "success"
    await all_is_right(house)


async def test_of_a_batch_one_bad_destination_fails_alone(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, good = await begin(house, node), [address_of(new_key()) for _ in range(6)]

    answers = await asyncio.gather(*(ask(house, alice, "10", to) for to in (*good[:3], ZERO, *good[3:])))
    await settle(house, node)

    assert [a.status_code for a in answers] == [200, 200, 200, 422, 200, 200, 200]
    assert [await on_chain(house, to) for to in good] == [10 * USDT] * 6
    assert await house.balance(alice) == "1940.000000"
    await all_is_right(house)


async def test_a_black_listed_main_wallet_keeps_withdrawals_waiting(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    main = gateway_of(house).main_address
    await node.admin("token", blacklist=main)
    await node.settle()
    kept, given_up = await asked(house, alice, "40"), await asked(house, alice, "50")

    await settle(house, node)
    waiting = await read(house, kept)
    assert (await decide(house, given_up, "cancel", "withdraw")).status_code == 200
    await node.admin("token", unblacklist=main)
    await node.settle()
    await settle(house, node)

    assert (waiting["status"], waiting["waits_for"]) == ("queued", "contract_refuses")
    assert [(await read(house, w))["status"] for w in (kept, given_up)] == ["success", "cancelled"]
    assert await house.balance(alice) == "1960.000000"
    await all_is_right(house)


async def test_a_tokens_own_fee_is_the_recipients(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())
    await node.admin("token", fee_basis_points=10, maximum_fee=10 * USDT)
    await node.settle()

    withdrawal = await asked(house, alice, "100", to)
    await settle(house, node)
    await node.admin("token", fee_basis_points=0, maximum_fee=0)

    assert (await read(house, withdrawal))["status"] == "success"
    assert await on_chain(house, to) == 99_900_000
    assert await rows(house, "SELECT currency FROM booking WHERE kind = 'fee'") == [("TRX",)]
    await all_is_right(house)


async def test_a_lost_answer_of_the_broadcast_pays_once(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())
    withdrawal = await asked(house, alice, "40", to)
    await node.admin("faults", endpoint="wallet/broadcasthex", kind="drop_after", count=2)

    await step(house)
    await asyncio.gather(step(house), step(house))
    await settle(house, node)

    assert (await read(house, withdrawal))["status"] == "success"
    assert await on_chain(house, to) == 40 * USDT
    assert await rows(house, "SELECT count(*) FROM outgoing") == [(1,)]


async def test_what_the_node_loses_is_signed_anew_only_when_it_is_dead(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())
    withdrawal = await asked(house, alice, "40", to)
    await node.admin("faults", endpoint="wallet/broadcasthex", kind="drop_before", count=10**6)
    await settle(house, node)
    still = await rows(house, "SELECT state FROM outgoing")
    for table in ("outgoing", "signer.payout"):  # as if two minutes of blocks had passed
        await rows(house, f"UPDATE {table} SET expires_at = now() - interval '1 h'")
    await step(house)
    await node.admin("faults", clear=True)
    await settle(house, node)

    assert still == [("sent",)]
    assert await rows(house, "SELECT state FROM outgoing ORDER BY id") == [("dead",), ("succeeded",)]
    assert await on_chain(house, to) == 40 * USDT
    assert (await read(house, withdrawal))["status"] == "success"
    await all_is_right(house)


async def test_what_is_dead_can_be_cancelled(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())
    withdrawal = await asked(house, alice, "40", to)
    await node.admin("faults", endpoint="wallet/broadcasthex", kind="drop_before", count=10**6)
    await step(house)
    alive = await decide(house, withdrawal, "cancel", "withdraw")
    await rows(house, "UPDATE outgoing SET state = 'dead'")
    dead = await decide(house, withdrawal, "cancel", "withdraw")
    await node.admin("faults", clear=True)
    await settle(house, node)

    assert (alive.status_code, dead.status_code) == (409, 200)
    assert (await read(house, withdrawal))["status"] == "cancelled"
    assert (await house.balance(alice), await on_chain(house, to)) == ("2000.000000", 0)
    await all_is_right(house)


async def test_payouts_that_are_due_together_do_not_spend_the_same_money(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node, main_usdt="100"), address_of(new_key())
    for _ in range(4):
        await asked(house, alice, "40", to)

    await settle(house, node)

    assert await on_chain(house, to) == 80 * USDT
    states = await rows(house, "SELECT status, count(*) FROM withdrawal GROUP BY 1 ORDER BY 1")
    assert states == [("queued", 2), ("success", 2)]
    assert await rows(house, "SELECT count(*) FROM outgoing WHERE state = 'failed'") == [(0,)]
    await node.admin("faucet", address=gateway_of(house).main_address, usdt="1000")
    await settle(house, node)
    await settle(house, node)
    assert await rows(house, "SELECT DISTINCT status FROM withdrawal") == [("success",)]
    await all_is_right(house)


async def test_trx_promised_by_one_gateway_is_seen_by_the_other(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node, money=20_000), address_of(new_key())
    for _ in range(12):  # 10,800 TRX of the 10,000 that the main wallet has
        await rows(house, "UPDATE withdrawal SET created_at = created_at - interval '25 h'")
        await asked(house, alice, "900", to, currency="TRX")
    for _ in range(4):
        await asked(house, alice, "40", to)

    await settle(house, node)
    await settle(house, node)

    assert await rows(house, "SELECT count(*) FROM outgoing WHERE state = 'failed'") == [(0,)]
    assert set(await rows(house, "SELECT DISTINCT status FROM withdrawal")) == {("success",), ("queued",)}
    await all_is_right(house)


async def test_trx_to_a_contract_is_never_signed(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)

    withdrawal = await asked(house, alice, "7", to_base58(PAYOUT), currency="TRX")
    await settle(house, node)

    found = await read(house, withdrawal)
    assert (found["status"], found["waits_for"], found["txid"]) == ("queued", "contract_refuses", None)
    assert (await decide(house, withdrawal, "cancel", "withdraw")).status_code == 200


async def test_two_workers_at_once_pay_once(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())
    for _ in range(5):
        await asked(house, alice, "2", to)

    for _ in range(ROUNDS):
        await due(house)
        await asyncio.gather(*(advance_withdrawals(parts_of(house)) for _ in range(3)))
        await node.settle()
        await scan_chain(parts_of(house), gateway_of(house))
    await settle(house, node)

    assert await on_chain(house, to) == 10 * USDT
    assert await rows(house, "SELECT status, count(*) FROM withdrawal GROUP BY 1") == [("success", 5)]
    await all_is_right(house)


@pytest.mark.parametrize("refuses", [False, True])
async def test_with_the_ledger_away_or_odd_it_waits_and_goes_on(
    paying_house: House, tron_node: SandboxNode, refuses: bool
) -> None:
    house, node = paying_house, tron_node
    alice, to = await begin(house, node), address_of(new_key())
    accounts = parts_of(house).accounts

    class Away:
        user_exists = staticmethod(accounts.user_exists)

        async def book(self, bookings: Any) -> Any:
            if refuses:
                return [("mismatch", "the key was used for another operation")]
            raise Unavailable("accounts does not answer")

    app = house.payments
    assert app is not None
    away: Any = Away()
    app.state.parts = replace(parts_of(house), accounts=away)
    answer = await ask(house, alice, "10", to, once="away")
    app.state.parts = parts_of(house)
    await settle(house, node)

    assert (answer.status_code, answer.json()["status"]) == (202, "requested")
    assert (await read(house, answer.json()["withdrawal_id"]))["status"] == "success"
    assert await on_chain(house, to) == 10 * USDT
