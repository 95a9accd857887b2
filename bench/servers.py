"""The servers that are measured: PostgreSQL, NATS, accounts, deals and Caddy, each a process of its own.

fsync is on in PostgreSQL and NATS; the services run as `make run` runs them, with their lines in files.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from accounts.use_cases import manage_keys
from common.db import Database
from garant_local.nats import Nats, binary
from garant_local.settings import ROOT
from garant_local.stack import answers
from support.servers import Databases, databases, free_port, running, temporary_folder

CALLERS = {name: secrets.token_hex(24) for name in ("accounts", "deals", "payments", "operator")}


@dataclass(slots=True)
class Servers:
    """Where the servers are, a tenant's key, and their processes by name."""

    databases: Databases
    nats: Nats
    ports: dict[str, int]
    tenant_id: int = 0
    api_key: str = ""
    processes: dict[str, psutil.Process] = field(default_factory=dict)

    def cpu_s(self) -> dict[str, float]:
        """Return the processor time that each server has taken, its children's included."""
        return {name: cpu_s(process) for name, process in self.processes.items()}


def cpu_s(process: psutil.Process) -> float:
    """Return the processor time that a process and its children have taken."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    ended = process.cpu_times()
    return total + float(ended.children_user) + float(ended.children_system)


Program = tuple[str, list[str], str, dict[str, str]]
"""A server's name, its command, the path that answers once it is there, and its settings."""


@contextlib.contextmanager
def serving() -> Iterator[Servers]:
    """Start everything in a folder of its own, and end it."""
    with backing(("accounts", "deals", "gateway")) as (servers, folder), contextlib.ExitStack() as stack:
        asyncio.run(_make_tenant(servers))
        for program in _programs(servers, folder):
            start(servers, folder, program, stack)
        yield servers


@contextlib.contextmanager
def backing(names: Sequence[str]) -> Iterator[tuple[Servers, Path]]:
    """Start PostgreSQL and NATS; yield them with a port for each of the servers to come, and a folder."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        found = stack.enter_context(databases())
        nats = Nats(folder, free_port(), secrets.token_hex(12))
        broker = stack.enter_context(running(nats.argv(), nats.answers, signal.SIGTERM, log=folder / "nats.log"))
        servers = Servers(found, nats, {name: free_port() for name in names})
        servers.processes["postgres"] = _postmaster()
        servers.processes["nats"] = psutil.Process(broker.pid)
        yield servers, folder


def start(servers: Servers, folder: Path, program: Program, stack: contextlib.ExitStack) -> None:
    """Start a server, which ends with the stack."""
    name, argv, path, environment = program
    check = answers(f"http://127.0.0.1:{servers.ports[name]}{path}")
    process = stack.enter_context(
        running(
            argv,
            check,
            signal.SIGTERM,
            log=folder / f"{name}.log",
            environment={**os.environ, **environment},
        )
    )
    servers.processes[name] = psutil.Process(process.pid)


def _postmaster() -> psutil.Process:
    (found,) = [p for p in psutil.Process().children() if p.name() == "postgres"]
    return found


async def _make_tenant(servers: Servers) -> None:
    database = Database(servers.databases.owner_url("accounts"), "bench", 2)
    try:
        servers.tenant_id = await manage_keys.create_tenant(database, "bench")
        _, servers.api_key = await manage_keys.create_key(database, servers.tenant_id, ["default"])
    finally:
        await database.close()


def _programs(servers: Servers, folder: Path) -> Iterator[Program]:
    ports = servers.ports
    for name in ("accounts", "deals"):
        yield (
            name,
            [sys.executable, "-m", name, "serve"],
            "/readyz",
            {
                "NATS_URL": servers.nats.url,
                "SERVICE_CREDENTIAL": CALLERS[name],
                "SERVICE_CALLERS": json.dumps(CALLERS),
                f"{name.upper()}_DATABASE_URL": servers.databases.url(name),
                f"{name.upper()}_PORT": str(ports[name]),
                "ACCOUNTS_URL": f"http://127.0.0.1:{ports['accounts']}",
                "PAYMENTS_URL": "http://127.0.0.1:1",
                "INVARIANTS_INTERVAL_S": "86400",
                "CHAT_TOKEN_PRIVATE_KEY": secrets.token_hex(32),
            },
        )
    gateway = ROOT / "deploy" / "gateway"
    yield (
        "gateway",
        [binary("caddy"), "run", "--config", str(gateway / "Caddyfile"), "--adapter", "caddyfile"],
        "/docs",
        {
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "GATEWAY_SITE": str(gateway / "site"),
            "GATEWAY_ADDRESS": f"http://:{ports['gateway']}",
            "ACCOUNTS_UPSTREAM": f"127.0.0.1 {ports['accounts']}",
            "DEALS_UPSTREAM": f"127.0.0.1 {ports['deals']}",
            "PAYMENTS_UPSTREAM": "127.0.0.1 1",
            "CHAT_UPSTREAM": "127.0.0.1 1",
        },
    )
