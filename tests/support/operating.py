"""What an operator does: deposits are made and swept, rows are lost, and commands are given."""

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from common.money import Currencies
from payments import commands
from payments.__main__ import parse
from payments.db import chain
from payments.use_cases.check_payments import check_payments
from payments.use_cases.reconcile import Reconciled, reconcile
from payments.use_cases.rescan_blocks import Rescanned, rescan_blocks
from payments.use_cases.scan_chain import scan_chain
from support.cashier import gateway_of, parts_of
from support.chain import SandboxNode
from support.house import House

CURRENCIES = Currencies.parse("USDT:6,TRX:6")
LONG = timedelta(seconds=30)


def quiet(_: str) -> None:
    """Tell nobody."""


async def begin(house: House, node: SandboxNode) -> tuple[int, int]:
    """Fund our wallets, start the scanner; return a user and the first block after that."""
    gateway = gateway_of(house)
    await node.admin("faucet", address=gateway.fuel_address, trx="10000")
    await node.admin("faucet", address=gateway.main_address, trx="1", usdt="1")
    await node.settle()
    await scan_chain(parts_of(house), gateway)
    return await house.user(1, "Alice"), (await cursor(house)).height + 1


async def cursor(house: House) -> chain.Cursor:
    """Return the scan cursor."""
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
    """Make what waits solid, and scan it."""
    await node.settle()
    await scan_chain(parts_of(house), gateway_of(house))


async def sweep_all(house: House, node: SandboxNode) -> None:
    """Go on until every sweep is done."""
    for _ in range(6):
        await check_payments(parts_of(house), timedelta())
        await settle(house, node)
    await check_payments(parts_of(house), timedelta())


async def tamper(house: House, statement: str, *values: Any) -> None:
    """Change payments' rows as nobody may."""
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
    """Rescan, telling nobody."""
    return await rescan_blocks(parts_of(house), gateway_of(house), first, last, quiet)


async def compared(house: House, *, everyone: bool = False) -> Reconciled:
    """Reconcile, telling nobody."""
    return await reconcile(parts_of(house), quiet, everyone=everyone)


@contextlib.asynccontextmanager
async def working(house: House, node: SandboxNode) -> AsyncIterator[None]:
    """Make blocks and scan them, as a chain and a worker do; in the end the last one is scanned."""
    ended = asyncio.Event()

    async def work() -> None:
        while not ended.is_set():
            await node.mine(1)
            await scan_chain(parts_of(house), gateway_of(house))

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        ended.set()
        await task


async def run(house: House, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command as the command line does, on the house's parts; return its exit code and its output."""
    options: argparse.Namespace = parse(list(words))
    code = await commands.SHOWN[options.command](parts_of(house), options, CURRENCIES)
    return code, capsys.readouterr().out
