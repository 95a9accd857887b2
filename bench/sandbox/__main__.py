"""python -m bench.sandbox [--quick] [--json FILE]

Exit code 1 when the node carries less than it must, or a call waits longer than it may while blocks are full.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
import uvloop

from bench.client import Caller, request
from bench.sandbox.transfers import usdt_transfer
from support.servers import free_port
from tron_sandbox import accounts

LEAST_PER_SECOND = 300
"""For each second of a core: what others do on the machine does not count."""
MOST_P99_MS = 50.0
LEAST_WITH_MANY = 0.8
"""What the node must carry with many accounts, as a part of what it carries with few."""
FEW, MANY = 400, 100_000
SENDERS = 300
OFFERED_PER_SECOND = 330
CONNECTIONS = 8
INTERVAL_S = 3
PROBES_PER_SECOND = 40


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured on one node."""

    accounts: int
    per_second: float
    """USDT transfers in blocks, from the first block's time to the last one's."""
    per_core_second: float
    """USDT transfers for each second of processor time that the node took, its calls and blocks included."""
    full_blocks: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    signatures_per_second: float
    """The yardstick, before the node's run: what one core signs and recovers in Python."""

    @property
    def ratio(self) -> float:
        """Transfers for each thousand of the yardstick's, which others on the machine slow down as well."""
        return 1000 * self.per_core_second / self.signatures_per_second


def yardstick() -> float:
    """Return how often a core signs and recovers a second."""
    key, digest, count = accounts.key(0), b"\1" * 32, 3_000
    started = time.perf_counter()
    for _ in range(count):
        signature = key.sign_recoverable(digest, hasher=None)
        type(key.public_key).from_signature_and_message(signature, digest, hasher=None)
    return count / (time.perf_counter() - started)


@contextlib.contextmanager
def node(many: int) -> Iterator[tuple[int, psutil.Process]]:
    """Run a node; yield its port and its process."""
    port = free_port()
    command = [sys.executable, "-m", "tron_sandbox", "--port", str(port), "--accounts", str(many)]
    process = subprocess.Popen(
        [*command, "--block-interval", str(INTERVAL_S), "--solid", "1"], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)


async def ask(caller: Caller, path: str, **body: Any) -> Any:
    """Call the node."""
    status, answer = await caller.call(request("POST", path, "", orjson.dumps(body).decode()))
    assert status == 200, answer
    return orjson.loads(answer)


async def connect(port: int) -> Caller:
    """Connect to a node that may still be starting."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            return await Caller.connect(port)
        await asyncio.sleep(0.05)
    raise ConnectionError("the node does not answer")


async def _prepare(caller: Caller, count: int, most: int) -> list[bytes]:
    """Give USDT to the senders; return the requests that broadcast the signed transfers."""
    block = await ask(caller, "/walletsolidity/getnowblock")
    reference, time_ms = bytes.fromhex(block["blockID"]), block["block_header"]["raw_data"]["timestamp"]
    for number in range(SENDERS):
        funded = usdt_transfer(reference, time_ms, None, accounts.address(number), 10**9)
        answer = await ask(caller, "/wallet/broadcasthex", transaction=funded)
        assert answer["result"] is True, answer
    await ask(caller, "/admin/mine")
    found = []
    for number in range(count):
        to = accounts.address((number * 7919 + SENDERS) % most)
        signed = usdt_transfer(reference, time_ms, number % SENDERS, to, 1 + number)
        found.append(request("POST", "/wallet/broadcasthex", "", orjson.dumps({"transaction": signed}).decode()))
    return found


async def _offer(port: int, requests: list[bytes]) -> None:
    """Broadcast at a steady rate."""
    waiting = iter(requests)
    started, sent = time.perf_counter(), 0

    async def sender() -> None:
        nonlocal sent
        caller = await connect(port)
        for one in waiting:
            due = started + sent / OFFERED_PER_SECOND
            sent += 1
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            status, answer = await caller.call(one)
            assert status == 200, answer
            assert b'"result":true' in answer, answer
        caller.close()

    async with asyncio.TaskGroup() as senders:
        for _ in range(CONNECTIONS):
            senders.create_task(sender())


async def _probe(port: int, latencies: list[float]) -> None:
    """Make calls as a payments service does, until cancelled, and note how long each took."""
    caller = await connect(port)
    holder = accounts.address(0).hex()
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/wallet/getnowblock", {}),
        ("/wallet/getblock", {}),
        ("/wallet/getaccount", {"address": holder}),
        ("/wallet/getaccountresource", {"address": holder}),
        ("/walletsolidity/gettransactioninfobyblocknum", {"num": 0}),
        (
            "/wallet/triggerconstantcontract",
            {
                "owner_address": holder,
                "contract_address": "41a614f803b6fd780986a42c78ec9c7f77e6ded13c",
                "function_selector": "balanceOf(address)",
                "parameter": holder[2:].rjust(64, "0"),
            },
        ),
    ]
    while True:
        for path, body in calls:
            if "num" in body:
                header = (await ask(caller, "/walletsolidity/getblock"))["block_header"]
                body = {"num": header["raw_data"]["number"]}
            wanted = request("POST", path, "", orjson.dumps(body).decode())
            started = time.perf_counter()
            status, _ = await caller.call(wanted)
            latencies.append(time.perf_counter() - started)
            assert status == 200
            await asyncio.sleep(1 / PROBES_PER_SECOND)


@contextlib.asynccontextmanager
async def _probing(port: int) -> AsyncIterator[list[float]]:
    latencies: list[float] = []
    probe = asyncio.create_task(_probe(port, latencies))
    try:
        yield latencies
    finally:
        probe.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await probe


async def _measure(port: int, process: psutil.Process, many: int, seconds: int) -> Sample:
    signatures = yardstick()
    caller = await connect(port)
    requests = await _prepare(caller, OFFERED_PER_SECOND * seconds, many)
    first = (await ask(caller, "/wallet/getblock"))["block_header"]["raw_data"]["number"]
    async with _probing(port) as latencies:
        before_s = sum(process.cpu_times()[:2])
        await _offer(port, requests)
        blocks = await _until_all_in_blocks(caller, first, len(requests))
        spent_s = sum(process.cpu_times()[:2]) - before_s
    (begun_ms, _), *rest = blocks
    latencies.sort()
    return Sample(
        accounts=many,
        per_second=1000 * sum(count for _, count in rest) / (rest[-1][0] - begun_ms),
        per_core_second=len(requests) / spent_s,
        full_blocks=len(blocks),
        p50_ms=1000 * statistics.median(latencies),
        p99_ms=1000 * latencies[int(len(latencies) * 0.99)],
        worst_ms=1000 * latencies[-1],
        signatures_per_second=signatures,
    )


async def _until_all_in_blocks(caller: Caller, first: int, wanted: int) -> list[tuple[int, int]]:
    """Wait until that many transactions are in blocks after the first; return those blocks' times and counts."""
    found: list[tuple[int, int]] = []
    number = first + 1
    async with asyncio.timeout(120):
        while sum(count for _, count in found) < wanted:
            header = (await ask(caller, "/wallet/getblock", id_or_num=number)).get("block_header")
            if header is None:
                await asyncio.sleep(0.1)
                continue
            count = (await ask(caller, "/wallet/gettransactioncountbyblocknum", num=number))["count"]
            number += 1
            if count:
                found.append((header["raw_data"]["timestamp"], count))
    return found


def main() -> None:
    """Measure with few and with many accounts, print, store, and say by the exit code whether it is enough."""
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter")
    parser.add_argument("--json", type=Path, default=Path(".garant-bench/sandbox.json"))
    options = parser.parse_args()
    samples = []
    for many in (FEW, MANY):
        with node(many) as (port, process):
            samples.append(uvloop.run(_measure(port, process, many, 10 if options.quick else 30)))
            print(_line(samples[-1]), flush=True)
    enough = all(s.per_core_second >= LEAST_PER_SECOND and s.p99_ms <= MOST_P99_MS for s in samples)
    enough &= samples[1].per_core_second >= LEAST_WITH_MANY * samples[0].per_core_second
    options.json.parent.mkdir(parents=True, exist_ok=True)
    found = {"cores": os.cpu_count(), "samples": [asdict(s) | {"ratio": s.ratio} for s in samples]}
    options.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    print(f"{'enough' if enough else 'NOT ENOUGH'}; all of it is in {options.json}")
    sys.exit(0 if enough else 1)


def _line(s: Sample) -> str:
    return (
        f"{s.accounts:7} accounts: {s.per_second:.0f} transfers/s in {s.full_blocks} blocks,"
        f" {s.per_core_second:.0f} for a core's second, {s.ratio:.0f} for 1000 signatures;"
        f" a call p50 {s.p50_ms:.1f} ms, p99 {s.p99_ms:.1f} ms, worst {s.worst_ms:.0f} ms"
    )


if __name__ == "__main__":
    main()
