"""The operator's commands: sweeps and stakes at once, tables, and how the program ends."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from common.errors import InvalidInput
from payments import commands
from payments.__main__ import parse
from payments.domain.errors import NodeUnavailable
from payments.domain.model import TxState
from payments.use_cases.check_payments import check_payments
from payments.use_cases.context import Payments
from payments.use_cases.stake_for_energy import stake_for_energy
from payments.use_cases.sweep_now import sweep_now
from support.cashier import gateway_of, parts_of
from support.chain import SandboxNode
from support.house import USDT, House
from support.operating import CURRENCIES, LONG, begin, compared, deposit, quiet, run, tamper, working


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
