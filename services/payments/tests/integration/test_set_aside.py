"""Transactions that can't be stored: they are set aside, their block is not held up, and they can be replayed."""

from typing import Any

import pytest
import sqlalchemy as sa

from payments.use_cases import store_blocks
from payments.use_cases.replay_quarantined import replay_quarantined
from payments.use_cases.store_transfers import store_transfers
from support.chain import SandboxNode
from support.node_gate import node_gate
from support.scanning import INFOS, scanner
from support.servers import Databases


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
        named = await one.violations()
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
        assert await one.violations() == {}


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
