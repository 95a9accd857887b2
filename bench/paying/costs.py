"""What is counted: node calls of detection, rows of a check_payments pass, memory; and what is timed beside it."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count

import psutil
from coincurve import PublicKey

from bench.paying.report import Figure
from bench.paying.stage import Stage
from payments.adapters.keys import DepositAddresses, new_seed
from payments.use_cases.check_payments import check_payments

DEPOSITS_A_BLOCK = 15
"""300 a minute, in blocks of three seconds."""
BLOCK_S = 3.0
"""Of the real chain."""
CROSS_CHECKS = 20
"""Wallets whose balance a pass may look at."""
STATEMENTS = 4
"""A changed payment is found, locked, read by its key and written: a row counts each time."""
MINUTE = timedelta(seconds=60)


async def detection(stage: Stage, blocks: int) -> list[Figure]:
    """Count node calls while deposits arrive: all calls less one a tick, for each block."""
    await stage.scan_all()
    first, ticks = await stage.height(), 0
    await stage.calls()
    for turn in range(blocks):
        await stage.pay(turn * DEPOSITS_A_BLOCK, DEPOSITS_A_BLOCK, "0.01")
        ticks += await stage.scan()
    calls, scanned = await stage.calls(), await stage.height() - first
    title = f"node calls a block beside 1 a tick, {stage.waiting:,} payments wait"
    return [Figure(f"calls_{stage.waiting}", title, (calls - ticks) / scanned, "calls", most=2)]


async def passes(stage: Stage) -> list[Figure]:
    """Count the rows that passes of check_payments read: nothing changed, then fifteen new payments were paid."""
    await stage.settle_payments()
    idle = await _rows_of_a_pass(stage)
    addresses = [await stage.ask(stage.user) for _ in range(DEPOSITS_A_BLOCK)]
    await asyncio.gather(*(stage.node.admin("faucet", address=a, usdt="30") for a in addresses))
    await stage.scan_all()
    await stage.house.deliver(1)
    busy = await _rows_of_a_pass(stage)
    each, waiting = sum(busy.values()) / DEPOSITS_A_BLOCK, f"{stage.waiting:,} wait"
    most = STATEMENTS * DEPOSITS_A_BLOCK + CROSS_CHECKS
    title = f"payments read by a pass, {DEPOSITS_A_BLOCK} of them paid, {waiting}"
    return [
        Figure(
            f"rows_idle_{stage.waiting}",
            f"rows read by a pass, nothing paid, {waiting}",
            sum(idle.values()),
            "rows",
            most=CROSS_CHECKS,
        ),
        Figure(f"rows_paid_{stage.waiting}", title, busy["payment"], "rows", most=most),
        Figure(
            f"rows_each_{stage.waiting}", "all rows of all tables that it reads for each of them", each, "rows"
        ),
    ]


async def _rows_of_a_pass(stage: Stage) -> dict[str, int]:
    before = await stage.rows_read()
    await check_payments(stage.parts, MINUTE)
    after = await stage.rows_read()
    return {name: rows - before.get(name, 0) for name, rows in after.items()}


async def catching_up(stage: Stage, blocks: int) -> Figure:
    """Time a scan of many blocks, some of them full of deposits, against the time that they took to be made."""
    await stage.scan_all()
    for turn in range(4):
        await stage.pay(turn * DEPOSITS_A_BLOCK, DEPOSITS_A_BLOCK, "0.01")
    await stage.node.mine(blocks)
    first, began = await stage.height(), time.perf_counter()
    await stage.scan()
    took_s, scanned = time.perf_counter() - began, await stage.height() - first
    return Figure(
        "catching_up", f"catching up with {scanned:,} blocks", scanned * BLOCK_S / took_s, "x real time", least=100
    )


def rss_mb() -> float:
    """Return the memory that this process holds."""
    return float(psutil.Process().memory_info().rss) / 2**20


def derivation(seconds: float) -> list[Figure]:
    """Time the derivation of deposit addresses, beside the one point addition that each needs."""
    addresses = DepositAddresses(new_seed(bytes(32))[0].root.deposit_xpub)
    point = PublicKey.from_secret(bytes(31) + b"\x07")
    derived = _per_second(lambda n: addresses.deposit_address(n), seconds)
    added = _per_second(lambda n: point.add(hashlib.sha256(n.to_bytes(8, "big")).digest()), seconds)
    return [
        Figure("derivation", "addresses derived", derived, "a second", least=5_000),
        Figure("derivation_ratio", "the same, x point additions of libsecp256k1", derived / added, "x", least=0.2),
    ]


def _per_second(work: Callable[[int], object], seconds: float) -> float:
    began = time.perf_counter()
    for n in count():
        work(n)
        if n % 100 == 99 and time.perf_counter() - began >= seconds:
            return (n + 1) / (time.perf_counter() - began)
    raise AssertionError("count() has no end")
