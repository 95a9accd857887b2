"""Nodes that limit, fail and lie: each is left alone for a while, and the pool asks the next."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from common.metrics import REGISTRY
from payments.adapters.node import NodeAddress, NodeLimits
from payments.adapters.node_pool import ROUNDS, NodePool
from payments.adapters.tron_parse import read_header
from payments.domain.errors import ForeignBlock, NodeLied, NodeUnavailable
from support.chain import SandboxNode
from support.node_gate import NodeGate, node_gate

HEAD = ("walletsolidity/getblock", {"detail": False})
QUICK = NodeLimits(calls_per_s=1000, first_pause_s=0.05, longest_pause_s=0.2, longest_outage_pause_s=0.2)


class Gates:
    """Gates in front of one node, and pools over them."""

    def __init__(self, node: SandboxNode, stack: AsyncExitStack) -> None:
        self.node = node
        self._stack = stack

    async def gate(self) -> NodeGate:
        """Open a gate."""
        return await self._stack.enter_async_context(node_gate(self.node.url))

    def pool(
        self,
        *gates: NodeGate,
        limits: NodeLimits = QUICK,
        key: str | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> NodePool:
        """Make a pool."""
        pool = NodePool([NodeAddress(gate.url, key) for gate in gates], limits, now)
        self._stack.push_async_callback(pool.close)
        return pool


@pytest.fixture
async def gates(tron_node: SandboxNode) -> AsyncIterator[Gates]:
    """Gates in front of the sandbox node."""
    async with AsyncExitStack() as stack:
        yield Gates(tron_node, stack)


def same(answer: Any) -> Any:
    return answer


def lie(answer: Any) -> Any:
    raise NodeLied("it is wrong")


def foreign(answer: Any) -> Any:
    raise ForeignBlock("it does not fit")


@pytest.mark.parametrize("kind", ["429", "403", "500", "503", "html", "error", "drop_before", "drop_after"])
async def test_a_failure_of_one_node_is_answered_by_the_other(gates: Gates, kind: str) -> None:
    one, two = await gates.gate(), await gates.gate()
    pool = gates.pool(one, two, limits=NodeLimits(first_pause_s=5))
    await gates.node.admin("faults", endpoint="getblock", kind=kind, count=1)

    header = read_header(await pool.ask(*HEAD, same))

    assert header.height > 0
    assert [node.away_s > 0 for node in pool.nodes] == [True, False]


async def test_a_node_that_hangs_costs_its_time_out_and_no_more(gates: Gates) -> None:
    pool = gates.pool(await gates.gate(), await gates.gate(), limits=NodeLimits(timeout_s=0.3))
    await gates.node.admin("faults", endpoint="getblock", kind="delay", count=1, seconds=40)

    async with asyncio.timeout(8):  # it would be ten without the setting
        await pool.ask(*HEAD, same)


async def test_retry_after_is_respected_and_the_text_names_the_setting_and_the_reason(gates: Gates) -> None:
    gate = await gates.gate()
    pool = gates.pool(gate)
    pool.nodes[0]._client = httpx.AsyncClient(
        base_url="http://node",
        transport=httpx.MockTransport(lambda _: httpx.Response(429, headers={"retry-after": "120"})),
    )

    with pytest.raises(NodeUnavailable, match="TRON_NODE_URLS"):
        await pool.ask(*HEAD, same)

    assert 100 < pool.nodes[0].away_s <= 120
    with pytest.raises(NodeUnavailable, match=r"left alone for .* after: status 429"):
        await pool.ask(*HEAD, same)


async def test_pauses_double_and_end_with_the_first_good_answer(gates: Gates) -> None:
    gate = await gates.gate()
    limits = NodeLimits(first_pause_s=0.02, patience_s=0.0)
    now = 0.0
    pool = gates.pool(gate, limits=limits, now=lambda: now)
    (node,) = pool.nodes
    pauses = []
    for _ in range(6):
        node.pause("limited", "a test")
        pauses.append(node.away_s)
        now = node._away_until

    assert all(later > earlier * 1.4 for earlier, later in itertools.pairwise(pauses))
    await pool.ask(*HEAD, same)
    node.pause("limited", "a test")
    assert node.away_s <= 0.02


async def test_calls_that_fail_together_count_as_one_failure(gates: Gates) -> None:
    gate = await gates.gate()
    (node,) = gates.pool(gate).nodes
    began = node._now()

    for _ in range(10):
        node.pause("limited", "a test", began)

    assert node.away_s <= 0.05


async def test_one_call_asks_a_dead_node_a_few_times_and_then_gives_up(gates: Gates) -> None:
    gate = await gates.gate()
    gate.down = True
    pool = gates.pool(gate)

    with pytest.raises(NodeUnavailable):
        await pool.ask(*HEAD, same)

    assert gate.counts[HEAD[0]] == ROUNDS


@pytest.mark.parametrize(("read", "kind"), [(lie, NodeLied), (foreign, ForeignBlock)])
async def test_a_lie_of_all_nodes_is_told_as_one_and_each_was_asked_once(
    gates: Gates, read: Any, kind: type[NodeLied]
) -> None:
    one, two = await gates.gate(), await gates.gate()

    with pytest.raises(NodeLied) as caught:
        await gates.pool(one, two).ask(*HEAD, read)

    assert type(caught.value) is kind
    assert [gate.counts[HEAD[0]] for gate in (one, two)] == [1, 1]


async def test_a_lie_is_no_lie_of_all_while_a_node_is_away(gates: Gates) -> None:
    one, two = await gates.gate(), await gates.gate()
    two.down = True

    with pytest.raises(NodeUnavailable) as caught:
        await gates.pool(one, two).ask(*HEAD, foreign)

    assert not isinstance(caught.value, NodeLied)


async def test_calls_are_spread_and_keep_to_the_budget_of_each_node(gates: Gates) -> None:
    one, two = await gates.gate(), await gates.gate()
    pool = gates.pool(one, two, limits=NodeLimits(calls_per_s=10))
    began = time.monotonic()

    for _ in range(24):
        await pool.ask(*HEAD, same)

    assert time.monotonic() - began >= 0.15
    assert one.counts[HEAD[0]] == two.counts[HEAD[0]] == 12


async def test_a_spent_day_names_its_setting(gates: Gates) -> None:
    pool = gates.pool(await gates.gate(), limits=NodeLimits(calls_per_day=2))
    for _ in range(2):
        await pool.ask(*HEAD, same)

    with pytest.raises(NodeUnavailable, match="TRON_NODE_CALLS_PER_DAY"):
        await pool.ask(*HEAD, same)


async def test_a_broadcast_goes_to_every_node_that_is_well(gates: Gates) -> None:
    three = [await gates.gate() for _ in range(3)]
    three[1].down = True

    answers = await gates.pool(*three).ask_everywhere("wallet/getnowblock", {})

    assert [gate.counts["wallet/getnowblock"] for gate in three] == [1, 1, 1]
    assert len(answers) == 2


async def test_the_key_goes_to_its_node_and_into_no_text(gates: Gates, capsys: pytest.CaptureFixture[str]) -> None:
    gate = await gates.gate()
    pool = gates.pool(gate, key="very-secret-key")
    await pool.ask(*HEAD, same)
    gate.down = True
    with pytest.raises(NodeUnavailable) as caught:
        await pool.ask(*HEAD, same)

    assert gate.keys == {"very-secret-key"}
    assert "very-secret-key" not in caught.value.detail + capsys.readouterr().out + repr(
        NodeAddress("x", "very-secret-key")
    )


async def test_metrics_tell_each_nodes_calls_and_whether_it_is_well(gates: Gates) -> None:
    gate = await gates.gate()
    pool = gates.pool(gate, limits=NodeLimits(first_pause_s=0.01, patience_s=0.0))
    node = {"node": f"127.0.0.1:{gate.port}"}

    def calls() -> list[float]:
        # An earlier gate may have had the port.
        name = "garant_payments_node_calls_total"
        return [REGISTRY.get_sample_value(name, node | {"outcome": kind}) or 0.0 for kind in ("ok", "error")]

    before = calls()
    await pool.ask(*HEAD, same)
    assert REGISTRY.get_sample_value("garant_payments_node_up", node) == 1
    gate.down = True
    with pytest.raises(NodeUnavailable):
        await pool.ask(*HEAD, same)

    assert [now - then for now, then in zip(calls(), before, strict=True)] == [1, 1]
    assert REGISTRY.get_sample_value("garant_payments_node_up", node) == 0


async def test_what_goes_with_a_solid_head_is_asked_of_a_node_that_has_it(gates: Gates) -> None:
    one, two = await gates.gate(), await gates.gate()
    pool = gates.pool(one, two)
    old = await pool.newest(*HEAD, read_header)
    await gates.node.mine(3)
    new = await pool.newest(*HEAD, read_header)
    assert [gate.counts[HEAD[0]] for gate in (one, two)] == [1, 1]

    for _ in range(4):
        await pool.ask("walletsolidity/getaccount", {"address": "41" + "00" * 20}, same, pool.reached)

    assert (pool.reached, new.height) == (old.height + 3, old.height + 3)
    assert [gate.counts["walletsolidity/getaccount"] for gate in (one, two)] == [0, 4]
