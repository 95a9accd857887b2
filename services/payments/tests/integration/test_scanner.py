"""The scanner on a node that works: forks, expiry and outages, and what a block costs in calls."""

import asyncio
from datetime import datetime, timedelta

from support.scanning import HEADER, INFOS, WHOLE, Scanner
from support.waiting import eventually


async def test_a_deposit_that_a_fork_drops_is_shown_and_never_credited(solo: Scanner) -> None:
    alice = await solo.begin()
    payment = await solo.ask(alice)
    nothing = await solo.read(payment)
    await solo.pay(payment)
    await solo.node.mine()
    await solo.watch()
    shown = await solo.read(payment)
    await solo.node.admin("fork", depth=2, drop=True)
    await solo.node.mine()
    await solo.watch()
    dropped = await solo.read(payment)
    await solo.settle()

    assert (nothing["seen_amount"], nothing["confirmations"]) == ("0.000000", None)
    assert (shown["seen_amount"], shown["received_amount"], shown["confirmations"]) == (
        "30.000000",
        "0.000000",
        1,
    )
    assert (dropped["seen_amount"], dropped["confirmations"]) == ("0.000000", None)
    assert await solo.balance(alice) == "0.000000"
    assert await solo.rows("SELECT * FROM seen_transfer") == []


async def test_a_deposit_that_a_fork_puts_two_blocks_later_is_credited_once(solo: Scanner) -> None:
    alice = await solo.begin()
    payment = await solo.ask(alice)
    await solo.pay(payment)
    await solo.watch()
    first = await solo.rows("SELECT block_hash, height FROM seen_transfer")
    await solo.node.admin("fork", depth=1)
    await solo.node.mine(2)
    await solo.watch()
    second = await solo.rows("SELECT block_hash, height FROM seen_transfer")
    shown = await solo.read(payment)
    await solo.settle()

    assert len(first) == len(second) == 1
    assert second[0][0] != first[0][0]
    assert second[0][1] > first[0][1]
    assert shown["seen_amount"] == "30.000000"
    assert await solo.balance(alice) == "30.000000"
    done = await solo.read(payment)
    assert (done["seen_amount"], done["received_amount"]) == ("0.000000", "30.000000")
    assert done["confirmations"] >= 3


async def test_two_scanners_at_once_store_every_block_once(solo: Scanner) -> None:
    alice = await solo.begin()
    payment = await solo.ask(alice)
    for _ in range(10):
        await solo.pay(payment, "1")
    await solo.node.settle()

    await asyncio.gather(*(solo.scan() for _ in range(4)))
    await solo.scan()

    assert await solo.balance(alice) == "10.000000"
    assert await solo.rows("SELECT count(*), sum(amount)::int FROM transfer WHERE class = 'deposit'") == [
        (10, 10_000_000)
    ]


async def test_a_steady_scan_takes_two_calls_a_block_and_one_a_tick(solo: Scanner) -> None:
    alice = await solo.begin()
    payment = await solo.ask(alice)
    await solo.watch()
    await solo.node.admin("requests", clear=True)
    blocks = 20
    for _ in range(blocks):
        await solo.pay(payment, "1")  # one block, not empty
        await solo.scan()
    calls = await solo.node.admin("requests")

    shown = await solo.read(payment)
    assert shown["seen_amount"] == "3.000000"
    assert shown["received_amount"] == "17.000000"
    assert sum(calls.values()) <= 2 * blocks + blocks


async def test_catching_up_takes_two_calls_for_a_full_block_and_one_for_an_empty_one(solo: Scanner) -> None:
    alice = await solo.begin()
    payment = await solo.ask(alice)
    await solo.watch()
    full, first = 10, await solo.height()
    for _ in range(full):
        await solo.node.mine(2)
        await solo.pay(payment, "1")
    await solo.node.settle()
    await solo.node.admin("requests", clear=True)
    await solo.scan()
    calls = await solo.node.admin("requests")
    scanned = await solo.height() - first

    assert scanned >= 3 * full
    assert calls[INFOS] == full
    # The newest solid block's header is the tick's own, and its content is empty here.
    assert calls[WHOLE] == scanned - 1
    assert calls[HEADER] == 1
    assert (await solo.read(payment))["received_amount"] == "10.000000"


async def test_trx_is_shown_at_the_head_and_credited_without_fetching_its_block_again(solo: Scanner) -> None:
    alice = await solo.begin()
    body = {"gateway_id": "tron_trx", "user_id": alice, "amount": "30", "currency": "TRX"}
    payment = (await solo.house.call("payments", "POST", "/payment", body)).json()
    await solo.watch()
    await solo.node.admin("requests", clear=True)
    await solo.node.admin("faucet", address=payment["gateway_data"]["address"], trx="30")
    await solo.watch()
    shown = await solo.read(payment)
    for _ in range(4):
        await solo.node.mine()
        await solo.scan()
    calls = await solo.node.admin("requests")
    done = await solo.read(payment)

    assert (shown["seen_amount"], shown["received_amount"]) == ("30.000000", "0.000000")
    assert (done["seen_amount"], done["received_amount"]) == ("0.000000", "30.000000")
    assert WHOLE not in calls


async def test_money_sent_before_a_payment_expired_counts_in_time_after_an_outage(solo: Scanner) -> None:
    alice = await solo.begin()
    solo.change_policy(payment_lifetime=timedelta(seconds=6))
    payment = await solo.ask(alice)
    await solo.pay(payment)  # and now we are down
    expires_ms = datetime.fromisoformat(payment["expires_at"]).timestamp() * 1000

    async def chain_time_ms() -> int:
        await solo.node.mine()
        head = await solo.node.ask("wallet/getnowblock")
        return int(head["block_header"]["raw_data"]["timestamp"])

    await eventually(chain_time_ms, lambda now: now > expires_ms)
    await solo.node.settle()
    await solo.scan()
    await solo.check()
    assert await solo.balance(alice) == "30.000000"
    for _ in range(6):
        await solo.check()
        await solo.settle()
    await solo.check()

    assert (await solo.read(payment))["status"] == "success"


async def test_money_for_an_expired_payment_that_is_solid_later_leaves_the_next_payment_waiting(
    solo: Scanner,
) -> None:
    alice = await solo.begin()
    normal = solo.parts.policy
    solo.change_policy(payment_lifetime=timedelta(milliseconds=1))
    first = await solo.ask(alice)

    async def expired() -> str:
        await solo.settle()
        await solo.check()
        return str((await solo.read(first))["status"])

    await eventually(expired, lambda status: status == "expired")
    await solo.pay(first)  # late, and not solid yet
    solo.change(policy=normal)
    second = await solo.ask(alice)
    assert second["gateway_data"]["address"] == first["gateway_data"]["address"]
    await solo.watch()
    seen = [(await solo.read(p))["seen_amount"] for p in (first, second)]
    await solo.settle()
    await solo.check()

    assert seen == ["30.000000", "0.000000"]
    assert await solo.balance(alice) == "30.000000"
    found = [(p["status"], p["received_amount"]) for p in (await solo.read(first), await solo.read(second))]
    assert found == [("expired", "30.000000"), ("waiting", "0.000000")]
