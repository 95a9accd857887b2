"""Blocks that are read again: what is missing is stored as the scanner would have, and credited once."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from common.errors import InvalidInput
from payments.domain.model import Arrival, TransferClass
from payments.use_cases import rescan_blocks as rescan_blocks_module
from payments.use_cases import store_blocks
from payments.use_cases.check_payments import check_payments, finish_payments
from payments.use_cases.replay_quarantined import replay_quarantined
from payments.use_cases.rescan_blocks import rescan_blocks
from payments.use_cases.store_transfers import store_transfers
from support.cashier import gateway_of, parts_of
from support.chain import SandboxNode
from support.house import USDT, House
from support.operating import (
    begin,
    compared,
    cursor,
    deposit,
    everything,
    rescan,
    run,
    settle,
    sweep_all,
    tamper,
    working,
)


async def test_a_deleted_transfer_is_found_and_credited_once(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "30")
    at = await cursor(house)
    await tamper(house, "DELETE FROM transfer WHERE to_address = $1", address)
    await tamper(house, "UPDATE payment SET received = 0")

    done = await rescan(house, first)

    (found,) = done.found
    assert (found.kind, found.to_address, found.units) == (TransferClass.DEPOSIT, address, 30 * USDT)
    assert await cursor(house) == at
    await house.deliver(2)
    assert await house.balance(alice) == "30.000000"
    assert (await rescan(house, first)).found == []
    assert await received(house) == [30 * USDT]
    assert (await compared(house)).agrees


async def test_a_transfer_that_was_never_stored_is_credited(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "30")
    await tamper(house, "DELETE FROM transfer WHERE to_address = $1", address)
    await tamper(house, "DELETE FROM outbox WHERE subject = 'payment.received'")
    await tamper(house, "UPDATE wallet SET status = 'waiting'")

    await rescan(house, first)

    (told,) = [e for e in await house.outbox("payments") if e["type"] == "payment.received"]
    assert told["data"]["amount_units"] == str(30 * USDT)
    await house.deliver(2)
    assert await house.balance(alice) == "30.000000"


async def test_a_rescan_over_everything_changes_nothing(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "30")
    await tron_node.admin("faucet", address=address, usdt="0.5", trx="3")
    await settle(house, tron_node)
    await house.deliver(1)
    await sweep_all(house, tron_node)
    await tron_node.admin("faucet", address=gateway_of(house).main_address, usdt="5")
    await settle(house, tron_node)
    before = await everything(house)

    done = await rescan(house, 0)

    assert (done.found, done.settled, done.blocks) == ([], 0, (await cursor(house)).height + 1)
    assert await everything(house) == before


async def test_what_is_found_is_what_the_scanner_had_stored(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    await deposit(house, tron_node, alice, "30")
    await sweep_all(house, tron_node)
    address = await deposit(house, tron_node, alice, "10", due="20")
    await tron_node.admin("faucet", address=address, usdt="12")
    await tron_node.admin("faucet", address=address, usdt="1")
    await tron_node.admin("faucet", address=gateway_of(house).fuel_address, trx="7")
    await settle(house, tron_node)
    before = await stored(house)
    assert {row["class"] for row in before} >= {"deposit", "own", "funding"}
    assert {row["arrival"] for row in before} >= {"exact", "under", "over", "extra"}
    had = await received(house)
    await tamper(house, "UPDATE payment SET received = 0")
    await tamper(house, "DELETE FROM transfer WHERE from_address <> 'opening'")

    done = await rescan(house, first)

    assert await stored(house) == before
    assert len(done.found) == len([row for row in before if row["from_address"] != "opening"])
    assert await received(house) == had


async def received(house: House) -> list[int]:
    connection = await asyncpg.connect(house.databases.owner_url("payments"))
    try:
        return [int(row[0]) for row in await connection.fetch("SELECT received FROM payment ORDER BY id")]
    finally:
        await connection.close()


async def stored(house: House) -> list[dict[str, Any]]:
    """Return all transfers, without when they were stored, posted and proven."""
    connection = await asyncpg.connect(house.databases.owner_url("payments"))
    try:
        rows = await connection.fetch("SELECT * FROM transfer ORDER BY network, txid, log_index")
    finally:
        await connection.close()
    later = ("applied_at", "stored_at", "due_at", "refusals", "proven")
    return [{name: value for name, value in row.items() if name not in later} for row in rows]


async def test_a_transfer_in_time_is_not_called_late_by_a_rescan(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "30")
    await tamper(house, "DELETE FROM transfer WHERE to_address = $1", address)
    await tamper(house, "UPDATE payment SET received = 0, status = 'expired'")

    await rescan(house, first)

    (row,) = [row for row in (await everything(house))["transfer"] if address in row]
    assert Arrival.EXACT.value in row


async def test_blocks_above_the_cursor_are_refused(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    _, first = await begin(house, tron_node)

    for bad in ((first, None), (0, first), (-1, None), (2, 1)):
        with pytest.raises(InvalidInput, match=r"--(from|to)"):
            await rescan(house, *bad)


async def test_a_rescan_beside_the_scanner_credits_once(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    addresses = [await deposit(house, tron_node, alice, "5") for _ in range(4)]
    await tamper(house, "DELETE FROM transfer WHERE to_address = ANY($1)", addresses)

    async with working(house, tron_node):
        done = await asyncio.gather(*(rescan(house, first) for _ in range(3)))

    assert sum(len(one.found) for one in done) == 4
    await house.deliver(2)
    assert await house.balance(alice) == "20.000000"


async def test_finishing_after_a_rescan_succeeds(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "0.5")
    await tamper(house, "DELETE FROM transfer WHERE to_address = $1", address)
    await tamper(house, "UPDATE payment SET received = 0")
    assert await finish_payments(parts_of(house), gateway_of(house)) == 0

    await rescan(house, first)
    await check_payments(parts_of(house), timedelta())
    await tamper(house, "UPDATE transfer SET due_at = due_at - interval '1 minute' WHERE applied_at IS NULL")
    await check_payments(parts_of(house), timedelta())

    (row,) = (await everything(house))["payment"]
    assert "success" in row


async def test_a_rescan_sets_aside_what_can_not_be_stored_and_goes_on(
    paying_house: House,
    tron_node: SandboxNode,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    bad, good = [await deposit(house, tron_node, alice, usdt) for usdt in ("30", "20")]
    await tamper(house, "DELETE FROM transfer WHERE class = 'deposit'")
    real = store_transfers

    async def refusing(*arguments: Any, **more: Any) -> Any:
        found = await real(*arguments, **more)
        if any(t.to_address == bad for t in arguments[-1].transfers):
            await arguments[1].execute(sa.text("SELECT 1 / 0"))
        return found

    for module in (rescan_blocks_module, store_blocks):
        monkeypatch.setattr(module, "store_transfers", refusing)
    code, out = await run(house, capsys, "rescan", "--from", str(first))

    assert code == 0
    assert "division by zero" in out
    assert "1 transfers were missing" in out
    assert good in out
    assert "1 set aside" in out
    monkeypatch.undo()
    lines = [line async for line in replay_quarantined(parts_of(house))]
    assert [line.rpartition(": ")[2] for line in lines] == ["stored, 1 deposits"]
    await rescan(house, first)
    assert await house.balance(alice) == "50.000000"


async def test_a_rescan_that_was_killed_is_done_again(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    addresses = [await deposit(house, tron_node, alice, "5") for _ in range(3)]
    await tamper(house, "DELETE FROM transfer WHERE to_address = ANY($1)", addresses)

    def killed(text: str) -> None:
        if ", 1 transfers" in text:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await rescan_blocks(parts_of(house), gateway_of(house), first, None, killed)
    done = await rescan(house, first)

    assert len(done.found) == 2
    await house.deliver(2)
    assert await house.balance(alice) == "15.000000"
    assert (await compared(house)).agrees
