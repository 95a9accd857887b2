"""What is counted: node calls of detection, rows of a check_payments pass, memory; and what is timed beside it."""

import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count

import psutil
from coincurve import PublicKey

from bench.paying.report import Figure
from bench.paying.stage import PAYERS, Stage
from payments.adapters.keys import DepositAddresses, new_seed
from payments.use_cases.check_payments import check_payments

DEPOSITS_A_BLOCK = 15
"""300 a minute, in blocks of three seconds."""
BLOCK_S = 3.0
"""Of the real chain."""
CROSS_CHECKS = 20
"""Wallets whose balance a pass may look at."""
MINUTE = timedelta(seconds=60)


async def detection(stage: Stage, blocks: int) -> list[Figure]:
    """Count node calls while deposits arrive: all calls less one a tick, for each block."""
    await stage.scan_all()
    first, ticks = await stage.height(), 0
    await stage.calls()
    for turn in range(blocks):
        await stage.pay(turn * DEPOSITS_A_BLOCK, DEPOSITS_A_BLOCK, "0.1")
        ticks += await stage.scan()
    calls, scanned = await stage.calls(), await stage.height() - first
    title = f"node calls a block beside 1 a tick, {stage.waiting:,} payments wait"
    return [Figure(f"calls_{stage.waiting}", title, (calls - ticks) / scanned, "calls", most=2)]


async def passes(stage: Stage) -> list[Figure]:
    """Count the rows that passes of check_payments read: nothing changed, then fifteen payments were paid."""
    await stage.scan_all()
    await stage.house.deliver(1)
    for _ in range(2):  # what the deposits before have left to do
        await check_payments(stage.parts, MINUTE)
    before = await stage.rows_read()
    await check_payments(stage.parts, MINUTE)
    after = await stage.rows_read()
    idle = {name: rows - before.get(name, 0) for name, rows in after.items()}
    await stage.pay(PAYERS - DEPOSITS_A_BLOCK, DEPOSITS_A_BLOCK, "30")
    await stage.scan_all()
    await stage.house.deliver(1)
    before = await stage.rows_read()
    await check_payments(stage.parts, MINUTE)
    after = await stage.rows_read()
    busy = {name: rows - before.get(name, 0) for name, rows in after.items()}
    most = DEPOSITS_A_BLOCK + CROSS_CHECKS
    return [
        Figure(
            "rows_idle",
            f"rows read by a pass, nothing changed, {stage.waiting:,} wait",
            sum(idle.values()),
            "rows",
            most=CROSS_CHECKS,
        ),
        Figure(
            "rows_changed",
            f"payments read by a pass, {DEPOSITS_A_BLOCK} were paid",
            busy["payment"],
            "rows",
            most=most,
        ),
        Figure(
            "rows_changed_all",
            "all rows it read, of every table, for each of them",
            sum(busy.values()) / DEPOSITS_A_BLOCK,
            "rows",
        ),
    ]


async def catching_up(stage: Stage, blocks: int) -> Figure:
    """Time a scan of many blocks, some of them full of deposits, against the time that they took to be made."""
    await stage.scan_all()
    for turn in range(4):
        await stage.pay(turn * DEPOSITS_A_BLOCK, DEPOSITS_A_BLOCK, "0.1")
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
    added = _per_second(lambda n: point.add((n + 1).to_bytes(32, "big")), seconds)
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
