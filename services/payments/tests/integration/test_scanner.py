"""The scanner on nodes that fail, lag and lie: nothing is missed, nothing is credited twice, and it says so."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from common.logging import get_logger
from common.metrics import REGISTRY
from payments.domain.errors import NodeUnavailable
from payments.use_cases import store_blocks, tell_lag
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.replay_quarantined import replay_quarantined
from payments.use_cases.scan_chain import scan_chain
from payments.use_cases.store_transfers import store_transfers
from support.chain import SandboxNode, sandbox_node
from support.customer import rich
from support.house import House
from support.node_gate import node_gate
from support.scanning import Scanner, scanner
from support.servers import Databases
from support.waiting import eventually

log = get_logger()

INFOS = "walletsolidity/gettransactioninfobyblocknum"
HEADER = "walletsolidity/getblock"
WHOLE = "walletsolidity/getblockbynum"
BLOCK_S = 3


class Skewed:
    """A clock that is wrong."""

    def __init__(self, seconds: float) -> None:
        self._wrong = timedelta(seconds=seconds)

    def now(self) -> datetime:
        """Return the wrong time."""
        return datetime.now(UTC) + self._wrong


@pytest.fixture
async def solo(paying_house: House, tron_node: SandboxNode) -> Scanner:
    """A scanner on one node."""
    return Scanner(paying_house, tron_node)


@pytest.fixture
async def fresh_node() -> AsyncIterator[SandboxNode]:
    """A chain of its own."""
    with sandbox_node() as node:
        yield node


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What was reported to Sentry by the scanner."""
    found: list[BaseException] = []
    for module in (tell_lag, store_blocks):
        monkeypatch.setattr(module, "report", found.append)
    return found


async def violations(one: Scanner) -> dict[str, Any]:
    found = (await check_invariants(one.parts))["violations"]
    return {name: items for name, items in found.items() if items}


async def test_an_empty_answer_for_a_block_with_a_deposit_is_asked_for_again(solo: Scanner) -> None:
    alice = await solo.begin()
    payment = await solo.ask(alice)
    await solo.pay(payment)
    await solo.node.settle()
    await solo.node.admin("faults", endpoint="gettransactioninfobyblocknum", kind="empty", count=3)

    async def scanned() -> str:
        try:
            await solo.scan()
        except NodeUnavailable:
            assert await solo.rows("SELECT * FROM transfer WHERE class = 'deposit'") == []
        return await solo.balance(alice)

    assert await eventually(scanned, lambda balance: balance != "0.000000") == "30.000000"


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("blocks", "per_s"), [(1_200, 60), pytest.param(7_200, 90, marks=pytest.mark.deep)])
async def test_hours_down_are_caught_up_with_on_two_limited_nodes(
    migrated: Databases,
    fresh_node: SandboxNode,
    blocks: int,
    per_s: int,
) -> None:
    """One hour of blocks, or six, on nodes that answer `per_s` calls a second each, all kinds of refusals above."""
    node = fresh_node
    async with (
        node_gate(node.url, per_s) as one,
        node_gate(node.url, per_s) as two,
        scanner(migrated, node, one.url, two.url) as late,
    ):
        alice = await late.begin()
        payment = await late.ask(alice)
        for _ in range(12):
            await node.mine(blocks // 12 - 1)
            await late.pay(payment, "1.5")
        await node.settle()
        before = one.counts["refused"] + two.counts["refused"]
        began = time.monotonic()

        async def caught_up() -> int:
            try:
                while await scan_chain(late.parts, late.gateway):
                    pass
            except NodeUnavailable:  # both were left alone for a moment: the next tick goes on
                pass
            return late.parts.scans["tron"].solid.height - (await height(late))  # type: ignore[union-attr]

        await eventually(caught_up, lambda lag: lag == 0, within_s=150)
        took_s = time.monotonic() - began
        refused = one.counts["refused"] + two.counts["refused"] - before

        assert await late.balance(alice) == "18.000000"
        assert await late.rows("SELECT count(*) FROM transfer WHERE class = 'deposit'") == [(12,)]
        assert refused > 0, "the nodes' limits were never met"
        log.info("test.caught_up", blocks=blocks, took_s=round(took_s, 1), refused=refused)
        assert blocks * BLOCK_S / took_s >= 100, "it must be a hundred times as fast as the chain"


async def height(one: Scanner) -> int:
    return int((await one.rows("SELECT height FROM scan_cursor"))[0][0])


async def test_a_deposit_that_a_fork_drops_is_shown_and_never_credited(solo: Scanner) -> None:
    alice = await solo.begin()
    payment = await solo.ask(alice)
    nothing = await solo.read(payment)
    await solo.pay(payment)
    await solo.node.mine()
    await watch(solo)
    shown = await solo.read(payment)
    await solo.node.admin("fork", depth=2, drop=True)
    await solo.node.mine()
    await watch(solo)
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


async def watch(one: Scanner) -> None:
    """Let the scanner look until it has looked for the head without news as well."""
    for _ in range(6):
        await one.scan()


async def test_a_deposit_that_a_fork_puts_two_blocks_later_is_credited_once(solo: Scanner) -> None:
    alice = await solo.begin()
    payment = await solo.ask(alice)
    await solo.pay(payment)
    await watch(solo)
    first = await solo.rows("SELECT block_hash, height FROM seen_transfer")
    await solo.node.admin("fork", depth=1)
    await solo.node.mine(2)
    await watch(solo)
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


async def test_a_node_that_is_fifty_blocks_behind_is_passed_over(
    migrated: Databases, fresh_node: SandboxNode
) -> None:
    node = fresh_node
    await node.mine(60)

    def behind(path: str, asked: dict[str, Any], answer: Any) -> Any:
        return old if path == HEADER and "id_or_num" not in asked else answer

    async with node_gate(node.url) as lagging, scanner(migrated, node, node.url, lagging.url) as one:
        alice = await one.begin()
        payment = await one.ask(alice)
        old = await node.ask(HEADER, id_or_num=str(await height(one) - 50), detail=False)
        lagging.alter = behind
        await one.pay(payment)
        await one.node.settle()
        for _ in range(4):
            head = await one.gateway.chain.solid_head()
            assert head.height >= await height(one)
        await one.scan()

        assert await one.balance(alice) == "30.000000"
        assert lagging.counts[HEADER] > 0


@pytest.mark.parametrize(("wrong_s", "alarm"), [(90, tell_lag.ChainStale), (-90, tell_lag.ClockBehind)])
async def test_a_clock_that_is_wrong_by_ninety_seconds_expires_nothing_and_alarms_once(
    solo: Scanner, told: list[BaseException], wrong_s: int, alarm: type[Exception]
) -> None:
    alice = await solo.begin()
    policy = solo.parts.policy
    minute = {"payment_lifetime": timedelta(seconds=60), "stale_after": timedelta(seconds=60)}
    solo.change(clock=Skewed(wrong_s), policy=type(policy)(**{**fields(policy), **minute}))
    await solo.settle()
    payment = await solo.ask(alice)
    await solo.settle()
    await solo.check()
    waiting = await solo.read(payment)
    await solo.pay(payment)
    await solo.settle()
    credited = await solo.balance(alice)
    for _ in range(6):
        await solo.check()
        await solo.settle()
    await solo.check()

    assert waiting["status"] == "waiting"
    assert credited == "30.000000"
    assert (await solo.read(payment))["status"] == "success"
    assert [type(error) for error in told] == [alarm]


def fields(policy: Any) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in policy.__slots__}


async def test_a_poisonous_transaction_is_set_aside_and_can_be_replayed(
    migrated: Databases, tron_node: SandboxNode, told: list[BaseException]
) -> None:
    async with node_gate(tron_node.url) as gate, scanner(migrated, tron_node, gate.url) as one:
        alice = await one.begin()
        payments = [await one.ask(alice) for _ in range(4)]
        addresses = [p["gateway_data"]["address"] for p in payments]
        await tron_node.admin("faucet", address=addresses[0], usdt="1")
        poisons: list[str] = []

        def poison(path: str, asked: dict[str, Any], answer: Any) -> Any:
            for info in answer if path == INFOS else []:
                if info.get("log"):
                    poisons.append(info["id"])
                    info["log"][0]["topics"] = 7
            return answer

        gate.alter = poison
        await one.settle()
        gate.alter = broken_amount
        await tron_node.admin("faucet", address=addresses[1], usdt="2")
        await one.settle()
        gate.alter = lambda path, asked, answer: answer
        await tron_node.admin("faucet", address=addresses[2], usdt="4")
        await one.settle()
        before = await one.balance(alice)
        named = await violations(one)
        lines = [line async for line in replay_quarantined(one.parts)]
        again = [line async for line in replay_quarantined(one.parts)]

        assert before == "4.000000"
        assert named["quarantined"][0]["txid"] == poisons[0]
        assert len(named["quarantined"]) == 2
        assert [type(error) for error in told] == [store_blocks.TransactionSetAside] * 2
        assert all(line.endswith("stored, 1 deposits") for line in lines)
        assert len(lines) == 2
        assert again == []
        assert await one.balance(alice) == "7.000000"
        assert await violations(one) == {}


def broken_amount(path: str, asked: dict[str, Any], answer: Any) -> Any:
    """Let every token transfer move more than can be."""
    for info in answer if path == INFOS else []:
        for entry in info.get("log", []):
            entry["data"] = "f" * 64
    return answer


async def test_a_transaction_that_the_database_refuses_is_set_aside_and_its_block_is_stored(
    migrated: Databases, tron_node: SandboxNode, told: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scanner(migrated, tron_node) as one:
        alice = await one.begin()
        good, bad = await one.ask(alice), await one.ask(alice)
        await one.pay(bad, "1")
        await one.pay(good, "2")
        real, address = store_transfers, bad["gateway_data"]["address"]

        async def refusing(*arguments: Any, **more: Any) -> Any:
            found = await real(*arguments, **more)
            if any(t.to_address == address for t in arguments[-1].transfers):
                await arguments[1].execute(sa.text("SELECT 1 / 0"))
            return found

        monkeypatch.setattr(store_blocks, "store_transfers", refusing)
        await one.settle()
        before = await one.balance(alice)
        monkeypatch.undo()
        lines = [line async for line in replay_quarantined(one.parts)]

        assert before == "2.000000"
        assert len(lines) == 1
        assert await one.balance(alice) == "3.000000"


async def test_a_node_that_hides_what_contracts_send_is_told_once(
    migrated: Databases, tron_node: SandboxNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hiding(path: str, asked: dict[str, Any], answer: Any) -> Any:
        for info in answer if path == INFOS else []:
            info.pop("internal_transactions", None)
        return answer

    reported: list[BaseException] = []
    monkeypatch.setattr(tell_lag, "report", reported.append)

    def hidden() -> float:
        return REGISTRY.get_sample_value("garant_payments_hidden_calls_total", {"network": "tron"}) or 0.0

    async with node_gate(tron_node.url) as gate, scanner(migrated, tron_node, gate.url) as one:
        alice = await one.begin()
        payment, customer = await one.ask(alice), await rich(tron_node)
        began = hidden()
        await customer.pay_many(payment["gateway_data"]["address"], [1, 2])
        await one.settle()
        assert hidden() == began, "this node tells"

        gate.alter = hiding
        for _ in range(2):
            await customer.pay_many(payment["gateway_data"]["address"], [1, 2])
            await one.settle()
        await one.pay(payment, "1")  # a call of the token alone hides nothing
        await one.settle()

        assert hidden() == began + 2
        assert [type(error) for error in reported] == [tell_lag.CallsHidden]


async def test_a_block_of_another_chain_on_one_node_is_taken_from_the_other(
    migrated: Databases, tron_node: SandboxNode, told: list[BaseException]
) -> None:
    def foreign(path: str, asked: dict[str, Any], answer: Any) -> Any:
        if path in (HEADER, WHOLE) and "block_header" in answer:
            answer["block_header"]["raw_data"]["parentHash"] = "ab" * 32
        return answer

    async with node_gate(tron_node.url) as liar, scanner(migrated, tron_node, liar.url, tron_node.url) as one:
        alice = await one.begin()
        payment = await one.ask(alice)
        liar.alter = foreign
        await one.pay(payment)
        await tron_node.settle()

        async def scanned() -> str:
            await one.scan()
            return await one.balance(alice)

        assert await eventually(scanned, lambda balance: balance != "0.000000") == "30.000000"
        assert told == []
        assert await violations(one) == {}


async def test_a_chain_that_fits_on_no_node_alarms_once_and_stands_still_until_it_fits(
    migrated: Databases, tron_node: SandboxNode, told: list[BaseException]
) -> None:
    def foreign(path: str, asked: dict[str, Any], answer: Any) -> Any:
        if path in (HEADER, WHOLE) and "block_header" in answer:
            answer["block_header"]["raw_data"]["parentHash"] = "ab" * 32
        return answer

    async with (
        node_gate(tron_node.url) as a,
        node_gate(tron_node.url) as b,
        scanner(migrated, tron_node, a.url, b.url) as one,
    ):
        alice = await one.begin()
        payment = await one.ask(alice)
        stood = await height(one)
        a.alter = b.alter = foreign
        await one.pay(payment)
        await tron_node.settle()
        for _ in range(3):
            await one.scan()
            await asyncio.sleep(0)
        named = await violations(one)
        stands = await height(one)
        a.alter = b.alter = lambda path, asked, answer: answer

        async def scanned() -> str:
            await one.scan()
            return await one.balance(alice)

        assert stands == stood
        assert [item["height"] for item in named["chain_unlike_cursor"]] == [stood]
        assert [type(error) for error in told] == [tell_lag.ChainUnlikeCursor]
        assert await eventually(scanned, lambda balance: balance != "0.000000") == "30.000000"
        assert await violations(one) == {}


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
    await watch(solo)
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
    await watch(solo)
    full, first = 10, await height(solo)
    for _ in range(full):
        await solo.node.mine(2)
        await solo.pay(payment, "1")
    await solo.node.settle()
    await solo.node.admin("requests", clear=True)
    await solo.scan()
    calls = await solo.node.admin("requests")
    scanned = await height(solo) - first

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
    await watch(solo)
    await solo.node.admin("requests", clear=True)
    await solo.node.admin("faucet", address=payment["gateway_data"]["address"], trx="30")
    await watch(solo)
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
    solo.change(
        policy=type(solo.parts.policy)(**{**fields(solo.parts.policy), "payment_lifetime": timedelta(seconds=2)})
    )
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
    solo.change(policy=type(normal)(**{**fields(normal), "payment_lifetime": timedelta(milliseconds=1)}))
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
    await watch(solo)
    seen = [(await solo.read(p))["seen_amount"] for p in (first, second)]
    await solo.settle()
    await solo.check()

    assert seen == ["30.000000", "0.000000"]
    assert await solo.balance(alice) == "30.000000"
    found = [(p["status"], p["received_amount"]) for p in (await solo.read(first), await solo.read(second))]
    assert found == [("expired", "30.000000"), ("waiting", "0.000000")]
