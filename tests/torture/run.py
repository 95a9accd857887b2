"""One run of torture: a system of its own, traffic, blows, rest, proof, and a report."""

import asyncio
import collections
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from support.client import Client, GaveUp, client_of
from support.proofs import Chain, prove
from support.system import COMMANDS, System, running_system
from torture.alarms import PROVEN_EVERY_S, PROVERS, Alarms
from torture.chaos import Chaos
from torture.plan import VICTIMS, Blow, plan
from torture.traffic import Traffic

PATIENCE_S = 120.0
READY_WITHIN_S = 120.0
REST_WITHIN_S = 180.0
TELL_EVERY_S = 5.0
RED, GREEN, DIM, RESET = "\033[31m", "\033[32m", "\033[2m", "\033[0m"
SERVICES = ("accounts", "deals", "payments", "signer", "chat")


@dataclass(slots=True)
class Report:
    """What happened; `wrong` is empty when money was never wrong."""

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def new_folder() -> Path:
    """Return a new folder that PostgreSQL's user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="garant-torture-"))
    folder.chmod(0o755)
    return folder


def torture(seed: int, seconds: float, workers: int, folder: Path) -> Report:
    """Run against a new system in `folder`, and tell the report."""
    blows = plan(seed, seconds)
    _say(f"SEED={seed}: {len(blows)} blows in {seconds:.0f} s, {workers} workers")
    report = Report()
    try:
        with running_system({"INVARIANTS_INTERVAL_S": str(PROVEN_EVERY_S)}, keep_in=folder) as system:
            asyncio.run(_run(system, blows, seed, workers, report))
    except (AssertionError, GaveUp) as error:
        report.wrong.append(f"{type(error).__name__}: {error}")
    report.lines += [f"{'restarts':12} {name:10} {n:6}" for name, n in sorted(_deaths(folder).items())]
    print("\n".join(report.lines), flush=True)
    for text in report.wrong:
        _say(f"WRONG: {text}", RED)
    _say(
        f"SEED={seed}: " + ("money was wrong" if report.wrong else "money was never wrong"),
        RED if report.wrong else GREEN,
    )
    return report


async def _run(system: System, blows: Sequence[Blow], seed: int, workers: int, report: Report) -> None:
    async with client_of(system, PATIENCE_S) as client:
        traffic, chaos, chain, alarms = Traffic(client, seed), Chaos(system), Chain(client), Alarms(client)
        working = [asyncio.create_task(traffic.work(worker)) for worker in range(workers)]
        beside = [asyncio.create_task(_tell(traffic, chaos, alarms)), asyncio.create_task(alarms.watch())]
        await chaos.carry_out(blows)
        _say("every blow has fallen; the traffic comes to its end")
        traffic.open = False
        await _until_ready(client)
        await asyncio.gather(*working)
        await traffic.rest(chain, REST_WITHIN_S)
        report.wrong += traffic.failures + await prove(client, chain, told_once=False)
        for task in beside:
            if not task.cancel():  # one that ended by itself ended badly
                task.result()
        with (system.data.parent / "console.log").open(errors="replace") as console:
            report.wrong += alarms.wrong(console)
        report.lines += _table(client, chaos, traffic, await traffic.final_states())
        report.lines += [f"{'proofs':12} {name:10} {len(alarms.passes[name]):6}" for name in PROVERS]


async def _until_ready(client: Client) -> None:
    """Wait until every process is there and every service says that it is ready."""

    async def missing() -> list[str]:
        return [name for name in COMMANDS if not await _ready(client, name)]

    await client.until("every process to be ready", missing, lambda names: not names, READY_WITHIN_S)


async def _ready(client: Client, name: str) -> bool:
    if client.system.find(name) is None:
        return False
    if name not in SERVICES:
        return True
    try:
        return (await client.http.get(f"{client.system.url(name)}/readyz", timeout=2)).status_code == 200
    except httpx.TransportError:
        return False


async def _tell(traffic: Traffic, chaos: Chaos, alarms: Alarms) -> None:
    begun = time.monotonic()
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        client, blows = traffic.client, sum(n for (_, kind), n in chaos.done.items() if kind != "backend")
        _say(
            f"{time.monotonic() - begun:6.0f} s  {blows:4} blows  {len(traffic.casts):5} stories,"
            f" {traffic.under_way} under way  {client.calls} calls, {client.retries} retries"
            f"  {len(traffic.failures)} failures, {len(client.broken)} answers 500, {len(alarms.raised)} alarms",
            DIM,
        )


def _say(text: str, colour: str = "") -> None:
    print(f"{colour}{text}{RESET}" if colour and sys.stdout.isatty() else text, flush=True)


def _table(client: Client, chaos: Chaos, traffic: Traffic, states: "collections.Counter[str]") -> list[str]:
    kinds = ("kill", "stop", "backends", "backend", "absent")
    return [
        f"{'victim':12} " + " ".join(f"{kind:>9}" for kind in kinds),
        *(f"{v:12} " + " ".join(f"{chaos.done[v, kind]:9}" for kind in kinds) for v in VICTIMS),
        *(f"{'deals':12} {status:20} {count:6}" for status, count in sorted(states.items())),
        f"{len(traffic.casts)} stories, {sum(states.values())} deals, {client.calls} calls, {client.retries} retries,"
        f" {len(traffic.failures)} failures, {len(client.broken)} answers 500",
    ]


def _deaths(folder: Path) -> "collections.Counter[str]":
    """Count what the supervisor started again."""
    lines = (folder / "console.log").read_text(errors="replace").splitlines()
    return collections.Counter(name for line in lines for name in VICTIMS if f"| {name} died (exit code" in line)
