"""The operator's commands on real PostgreSQL, the sandbox node and the real ledger."""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from common.errors import InvalidInput
from common.money import Currencies
from payments import commands
from payments.__main__ import parse
from payments.db import chain
from payments.domain.errors import NodeUnavailable
from payments.domain.model import Arrival, TransferClass, TxState
from payments.domain.ports import Gateway
from payments.use_cases import rescan_blocks as rescan_blocks_module
from payments.use_cases import store_blocks
from payments.use_cases.check_payments import check_payments, finish_payments
from payments.use_cases.context import Payments
from payments.use_cases.reconcile import Reconciled, ScannerBehind, reconcile
from payments.use_cases.replay_quarantined import replay_quarantined
from payments.use_cases.rescan_blocks import Rescanned, rescan_blocks
from payments.use_cases.scan_chain import scan_chain
from payments.use_cases.stake_for_energy import stake_for_energy
from payments.use_cases.store_transfers import store_transfers
from payments.use_cases.sweep_now import sweep_now
from support.chain import SandboxNode
from support.house import USDT, House

CURRENCIES = Currencies.parse("USDT:6,TRX:6")
LONG = timedelta(seconds=30)


def quiet(_: str) -> None:
    """Tell nobody."""


def parts_of(house: House) -> Payments:
    assert house.parts is not None
    return house.parts


def gateway_of(house: House) -> Gateway:
    return parts_of(house).gateways["tron_usdt"]


async def begin(house: House, node: SandboxNode) -> tuple[int, int]:
    """Fund our wallets, start the scanner; return a user and the first block after that."""
    gateway = gateway_of(house)
    await node.admin("faucet", address=gateway.fuel_address, trx="10000")
    await node.admin("faucet", address=gateway.main_address, trx="1", usdt="1")
    await node.settle()
    await scan_chain(parts_of(house), gateway)
    return await house.user(1, "Alice"), (await cursor(house)).height + 1


async def cursor(house: House) -> chain.Cursor:
    async with parts_of(house).database.transaction() as connection:
        found = await chain.cursor(connection, "tron")
    assert found is not None
    return found


async def deposit(house: House, node: SandboxNode, user: int, usdt: str, due: str | None = None) -> str:
    """Pay a payment, scan it, hand the events around; return the wallet's address."""
    body = {"gateway_id": "tron_usdt", "user_id": user, "amount": due or usdt, "currency": "USDT"}
    answer = await house.call("payments", "POST", "/payment", body)
    assert answer.status_code == 200, answer.text
    address = str(answer.json()["gateway_data"]["address"])
    await node.admin("faucet", address=address, usdt=usdt)
    await settle(house, node)
    await house.deliver(1)
    return address


async def settle(house: House, node: SandboxNode) -> None:
    await node.settle()
    await scan_chain(parts_of(house), gateway_of(house))


async def sweep_all(house: House, node: SandboxNode) -> None:
    for _ in range(6):
        await check_payments(parts_of(house), timedelta())
        await settle(house, node)
    await check_payments(parts_of(house), timedelta())


async def tamper(house: House, statement: str, *values: Any) -> None:
    connection = await asyncpg.connect(house.databases.owner_url("payments"))
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


async def everything(house: House) -> dict[str, list[Any]]:
    """Return all rows that a rescan could change."""
    connection = await asyncpg.connect(house.databases.owner_url("payments"))
    try:
        tables = ("transfer", "payment", "wallet", "outgoing", "booking", "sweep", "scan_cursor", "outbox")
        return {
            name: [tuple(r) for r in await connection.fetch(f"SELECT * FROM {name} ORDER BY 1, 2, 3")]
            for name in tables
        }
    finally:
        await connection.close()


async def rescan(house: House, first: int, last: int | None = None) -> Rescanned:
    return await rescan_blocks(parts_of(house), gateway_of(house), first, last, quiet)


async def compared(house: House, *, everyone: bool = False) -> Reconciled:
    return await reconcile(parts_of(house), quiet, everyone=everyone)


@contextlib.asynccontextmanager
async def working(house: House, node: SandboxNode) -> AsyncIterator[None]:
    """Make blocks and scan them, as a chain and a worker do."""

    async def work() -> None:
        while True:
            await node.mine(1)
            await scan_chain(parts_of(house), gateway_of(house))

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await scan_chain(parts_of(house), gateway_of(house))


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


async def test_reconciliation_is_quiet_when_all_agrees(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    await deposit(house, tron_node, alice, "30")
    await deposit(house, tron_node, alice, "0.5")
    await sweep_all(house, tron_node)

    async with working(house, tron_node):
        found = await compared(house, everyone=True)

    assert found.agrees, found
    assert found.compared == 2 + 2
    usdt, trx = (next(t for t in found.totals if t.currency == code) for code in ("USDT", "TRX"))
    assert usdt.wallets == 31 * USDT + USDT // 2
    assert trx.wallets < 10_001 * USDT


async def test_what_is_on_its_way_is_no_difference(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    body = {"gateway_id": "tron_usdt", "user_id": alice, "amount": "30", "currency": "USDT"}
    payment = (await house.call("payments", "POST", "/payment", body)).json()
    await tron_node.admin("faucet", address=payment["gateway_data"]["address"], usdt="30")
    await settle(house, tron_node)

    found = await compared(house)

    assert found.agrees, found
    usdt = next(t for t in found.totals if t.currency == "USDT")
    assert usdt.in_flight["deposit"] == 30 * USDT


@pytest.mark.parametrize(
    ("statement", "units"),
    [
        ("UPDATE transfer SET amount = amount + 7 WHERE to_address = $1", 30 * USDT + 7),
        ("DELETE FROM transfer WHERE to_address = $1", 0),
    ],
)
async def test_a_tampered_row_is_named_exactly(
    paying_house: House, tron_node: SandboxNode, statement: str, units: int
) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "30")
    await deposit(house, tron_node, alice, "20")
    await tamper(house, statement, address)

    found = await compared(house)

    (wallet,) = found.wallets
    assert (wallet.wallet.address, wallet.currency) == (address, "USDT")
    assert (wallet.chain_units, wallet.book_units) == (30 * USDT, units)
    (key,) = found.keys
    assert (key.kind, key.ledger_units, key.stored_units) == ("deposit", 30 * USDT, units)
    usdt, trx = (next(t for t in found.totals if t.currency == code) for code in ("USDT", "TRX"))
    assert (usdt.difference, trx.difference) == (units - 30 * USDT, 0)


async def test_a_scanner_that_does_not_run_is_told(
    paying_house: House, tron_node: SandboxNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = paying_house
    await begin(house, tron_node)
    await tron_node.mine(1)
    monkeypatch.setattr("payments.use_cases.reconcile.CURSOR_WAITS", 2)

    with pytest.raises(ScannerBehind, match="worker"):
        await compared(house)


async def test_sweep_now_takes_dust_of_one_wallet(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    dust = await deposit(house, tron_node, alice, "0.5")
    other = await deposit(house, tron_node, alice, "0.4")
    assert dust != other
    assert await sweep_now(parts_of(house), None, LONG, quiet) == []

    async with working(house, tron_node):
        (swept,) = await sweep_now(parts_of(house), dust, LONG, quiet)

    assert (swept.address, swept.units, swept.done) == (dust, USDT // 2, True)
    assert await gateway_of(house).chain.balance(gateway_of(house).asset, dust) == 0


async def test_sweep_now_follows_all_that_owes_enough(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    for usdt in ("30", "20", "0.5"):
        await deposit(house, tron_node, alice, usdt)

    async with working(house, tron_node):
        states = await sweep_now(parts_of(house), None, LONG, quiet)

    assert [(s.units, s.done) for s in states] == [(30 * USDT, True), (20 * USDT, True)]
    assert (await compared(house)).agrees


async def test_sweep_now_ends_when_time_is_up(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "30")

    (state,) = await sweep_now(parts_of(house), address, timedelta(seconds=1), quiet)

    assert not state.done


async def test_a_stranger_of_an_address_is_refused(paying_house: House, tron_node: SandboxNode) -> None:
    await begin(paying_house, tron_node)

    with pytest.raises(InvalidInput, match="no deposit wallet"):
        await sweep_now(parts_of(paying_house), gateway_of(paying_house).main_address, LONG, quiet)


async def test_staked_trx_can_be_lent_and_the_books_agree(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    await begin(house, tron_node)

    async with working(house, tron_node):
        staked = await stake_for_energy(parts_of(house), gateway_of(house), 3_000 * USDT, LONG, quiet)

    assert staked.state is TxState.SUCCEEDED
    assert staked.lendable_sun == 3_000 * USDT
    assert staked.lendable_energy > 0
    found = await compared(house)
    assert found.agrees, found
    assert next(t for t in found.totals if t.currency == "TRX").staked == 3_000 * USDT


async def test_a_stake_on_its_way_is_followed_and_not_doubled(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    await begin(house, tron_node)
    soon = timedelta(milliseconds=1)
    first = await stake_for_energy(parts_of(house), gateway_of(house), 3_000 * USDT, soon, quiet)
    assert first.state is TxState.SENT

    async with working(house, tron_node):
        second = await stake_for_energy(parts_of(house), gateway_of(house), 3_000 * USDT, LONG, quiet)

    assert (second.txid, second.state) == (first.txid, TxState.SUCCEEDED)
    assert second.lendable_sun == 3_000 * USDT


async def test_more_than_the_fuel_wallet_holds_is_not_staked(paying_house: House, tron_node: SandboxNode) -> None:
    await begin(paying_house, tron_node)

    for sun in (10**15, 1):
        with pytest.raises(InvalidInput, match="TRX"):
            await stake_for_energy(parts_of(paying_house), gateway_of(paying_house), sun, LONG, quiet)


async def run(house: House, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command as the command line does, on the house's parts; return its exit code and its output."""
    options: argparse.Namespace = parse(list(words))
    code = await commands.SHOWN[options.command](parts_of(house), options, CURRENCIES)
    return code, capsys.readouterr().out


async def test_the_commands_show_tables(
    paying_house: House, tron_node: SandboxNode, capsys: pytest.CaptureFixture[str]
) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "30")
    other = await deposit(house, tron_node, alice, "20")

    code, out = await run(house, capsys, "wallets", "--nonzero", "--user", str(alice), "--limit", "1")
    assert code == 0
    assert address in out
    assert "30.000000" in out
    assert "20.000000" not in out
    assert "\033" not in out
    assert await run(house, capsys, "sweeps") == (
        0,
        "sweep  wallet  amount    step  failures  since  next  lent TRX  spent TRX  error\n"
        "0 sweeps under way, 0 of them stuck; 0.000000 TRX lent\n",
    )
    code, out = await run(house, capsys, "reconcile")
    assert (code, "all agrees" in out) == (0, True)
    await tamper(house, "DELETE FROM transfer WHERE to_address = $1", address)
    code, out = await run(house, capsys, "reconcile")
    assert (code, address in out, "NOT ALL AGREES" in out) == (1, True, True)
    code, out = await run(house, capsys, "rescan", "--from", str(first))
    assert (code, address in out, "1 transfers were missing" in out) == (0, True, True)
    code, out = await run(house, capsys, "sweep", "NOW", other, "--timeout", "0.1")
    assert (code, other in out, "planned" in out or "fueling" in out) == (1, True, True)


async def test_a_stuck_sweep_is_shown_with_its_reason(
    paying_house: House, tron_node: SandboxNode, capsys: pytest.CaptureFixture[str]
) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    await deposit(house, tron_node, alice, "30")
    parts = parts_of(house)
    house.parts = replace(parts, policy=replace(parts.policy, sweep_fee_cap_sun=1))
    await check_payments(parts_of(house), timedelta())

    code, out = await run(house, capsys, "sweeps")

    assert code == 1
    assert "TooDear" in out
    assert "1 of them stuck" in out


@pytest.mark.parametrize(
    "words",
    [
        ["sweep"],
        ["sweep", "LATER"],
        ["sweep", "NOW", "a", "b"],
        ["sweep", "--now", "a", "b"],
        ["wallets", "--limit", "0"],
        ["stake", "many"],
        ["sweep", "NOW", "--timeout", "-1"],
    ],
)
async def test_a_bad_argument_is_named(
    paying_house: House, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(InvalidInput, match=r"sweep|--limit|TRX|--timeout"):
        await run(paying_house, capsys, *words)


async def test_a_node_that_is_away_is_an_error_that_names_the_setting(
    paying_house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextlib.asynccontextmanager
    async def parts() -> AsyncIterator[Payments]:
        yield parts_of(paying_house)

    async def away(*_: Any) -> int:
        raise NodeUnavailable("nobody answers")

    monkeypatch.setattr(commands, "command_parts", parts)
    monkeypatch.setattr(commands, "command_currencies", lambda: CURRENCIES)
    monkeypatch.setattr(commands, "only_warnings", lambda: None)
    monkeypatch.setitem(commands.SHOWN, "sweeps", away)

    assert await commands.run_command(parse(["sweeps"])) == 2
    assert capsys.readouterr().err == "error: nobody answers (the node of TRON_NODE_URL)\n"


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


def environment(house: House, node_url: str) -> dict[str, str]:
    """Return the settings of a process of payments over the house's database."""
    return {
        **os.environ,
        "PAYMENTS_DATABASE_URL": house.databases.url("payments"),
        "SERVICE_CREDENTIAL": "secret-of-payments-0123",
        "SERVICE_CALLERS": "{}",
        "SIGNER_CREDENTIAL": "secret-of-payments-at-the-signer",
        "ACCOUNTS_URL": "http://127.0.0.1:9",
        "TRON_NODE_URL": node_url,
    }


async def program(settings: dict[str, str], *words: str) -> tuple[int, str, str]:
    """Run `python -m payments`; return its exit code and what it wrote."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "payments", *words],
        env=settings,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


async def test_the_program_ends_with_its_codes_and_names_settings(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house = paying_house
    alice, first = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "30")
    await tamper(house, "DELETE FROM transfer WHERE to_address = $1", address)
    here, away = environment(house, tron_node.url), environment(house, "http://127.0.0.1:9")

    code, out, err = await program(here, "rescan", "--from", str(first))
    assert (code, address in out, "blocks read" in err) == (0, True, True), err
    code, out, err = await program(here, "rescan", "--from", "999999999")
    assert (code, out, err.startswith("error: --from")) == (2, "", True)
    code, out, err = await program(away, "rescan", "--from", str(first))
    assert (code, out, "TRON_NODE_URL" in err) == (2, "", True)
    code, out, err = await program(here, "reconcile")
    assert (code, "ACCOUNTS_URL" in err) == (2, True), err
    broken = here | {"PAYMENTS_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:9/none"}
    code, out, err = await program(broken, "wallets")
    assert (code, out, "PAYMENTS_DATABASE_URL" in err) == (2, "", True)
