"""Payouts on the sandbox node: what the chain, the token and the ledger do to them, and workers at once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from common.errors import Unavailable
from payments.use_cases.advance_withdrawals import advance_withdrawals
from payments.use_cases.scan_chain import scan_chain
from support.cashier import gateway_of, parts_of, rows
from support.chain import SandboxNode, address_of, new_key
from support.house import USDT, House
from support.withdrawing import all_is_right, ask, asked, begin, decide, due, on_chain, read, settle, step
from tron_sandbox.addresses import to_base58
from tron_sandbox.evm import PAYOUT

ZERO = "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb"
ROUNDS = 4


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
