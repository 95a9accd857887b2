"""The scanner on nodes that fail, lag and lie: nothing is missed, nothing is credited twice, and it says so."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.logging import get_logger
from common.metrics import REGISTRY
from payments.domain.errors import NodeUnavailable
from payments.use_cases import tell_lag
from payments.use_cases.scan_chain import scan_chain
from support.chain import SandboxNode, sandbox_node
from support.customer import rich
from support.node_gate import node_gate
from support.scanning import HEADER, INFOS, WHOLE, Scanner, scanner
from support.servers import Databases
from support.waiting import eventually

log = get_logger()


class Skewed:
    """A clock that is wrong."""

    def __init__(self, seconds: float) -> None:
        self._wrong = timedelta(seconds=seconds)

    def now(self) -> datetime:
        """Return the wrong time."""
        return datetime.now(UTC) + self._wrong


@pytest.fixture
async def fresh_node() -> AsyncIterator[SandboxNode]:
    """A chain of its own."""
    with sandbox_node() as node:
        yield node


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
        one.counts.clear()
        two.counts.clear()

        async def caught_up() -> int:
            try:
                while await scan_chain(late.parts, late.gateway):
                    pass
            except NodeUnavailable:  # both were left alone for a moment: the next tick goes on
                pass
            return late.parts.scans["tron"].solid.height - await late.height()  # type: ignore[union-attr]

        await eventually(caught_up, lambda lag: lag == 0, within_s=150)
        refused = one.counts["refused"] + two.counts["refused"]
        answered = one.counts.total() + two.counts.total() - 2 * refused  # by path, too

        assert await late.balance(alice) == "18.000000"
        assert await late.rows("SELECT count(*) FROM transfer WHERE class = 'deposit'") == [(12,)]
        assert refused > 0, "the nodes' limits were never met"
        log.info("test.caught_up", blocks=blocks, answered=answered, refused=refused)
        assert answered <= 1.5 * blocks, "an empty block costs one call, so the speed is that of the nodes' limits"
        assert refused <= 2 * answered, "a node that refuses is left alone for a while"


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
        old = await node.ask(HEADER, id_or_num=str(await one.height() - 50), detail=False)
        lagging.alter = behind
        await one.pay(payment)
        await one.node.settle()
        for _ in range(4):
            head = await one.gateway.chain.solid_head()
            assert head.height >= await one.height()
        await one.scan()

        assert await one.balance(alice) == "30.000000"
        assert lagging.counts[HEADER] > 0


@pytest.mark.parametrize(("wrong_s", "alarm"), [(90, tell_lag.ChainStale), (-90, tell_lag.ClockBehind)])
async def test_a_clock_that_is_wrong_by_ninety_seconds_expires_nothing_and_alarms_once(
    solo: Scanner, told: list[BaseException], wrong_s: int, alarm: type[Exception]
) -> None:
    alice = await solo.begin()
    minute = timedelta(seconds=60)
    solo.change_policy(payment_lifetime=minute, stale_after=minute)
    solo.change(clock=Skewed(wrong_s))
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


def foreign(path: str, asked: dict[str, Any], answer: Any) -> Any:
    """Show every block as one of another chain."""
    if path in (HEADER, WHOLE) and "block_header" in answer:
        answer["block_header"]["raw_data"]["parentHash"] = "ab" * 32
    return answer


async def test_a_block_of_another_chain_on_one_node_is_taken_from_the_other(
    migrated: Databases, tron_node: SandboxNode, told: list[BaseException]
) -> None:
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
        assert await one.violations() == {}


async def test_a_chain_that_fits_on_no_node_alarms_once_and_stands_still_until_it_fits(
    migrated: Databases, tron_node: SandboxNode, told: list[BaseException]
) -> None:
    async with (
        node_gate(tron_node.url) as a,
        node_gate(tron_node.url) as b,
        scanner(migrated, tron_node, a.url, b.url) as one,
    ):
        alice = await one.begin()
        payment = await one.ask(alice)
        stood = await one.height()
        a.alter = b.alter = foreign
        await one.pay(payment)
        await tron_node.settle()
        for _ in range(3):
            await one.scan()
            await asyncio.sleep(0)
        named = await one.violations()
        stands = await one.height()
        a.alter = b.alter = lambda path, asked, answer: answer

        async def scanned() -> str:
            await one.scan()
            return await one.balance(alice)

        assert stands == stood
        assert [item["height"] for item in named["chain_unlike_cursor"]] == [stood]
        assert [type(error) for error in told] == [tell_lag.ChainUnlikeCursor]
        assert await eventually(scanned, lambda balance: balance != "0.000000") == "30.000000"
        assert await one.violations() == {}
