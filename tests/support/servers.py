"""PostgreSQL and NATS for a run of the tests, each in a folder of its own, stopped at the end."""

import asyncio
import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import asyncpg

from common.migrate import upgrade
from common.provision import provision, provision_schema
from garant_local.nats import Nats
from garant_local.postgres import Postgres
from garant_local.secrets import SERVICES
from garant_local.settings import ROOT

START_TIMEOUT_S = 60
PORTS = range(15_000, 32_000)
"""Below those of outgoing connections: whoever has chosen one may take a while until it listens."""
_given: set[int] = set()


def free_port() -> int:
    """Return a port that nothing listens on now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on now, and that neither we nor the system give to anybody else."""
    found: list[int] = []
    for _ in range(100 * count):
        port = secrets.choice(PORTS)
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"there are no {count} free ports from {PORTS.start} on")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that PostgreSQL's user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="garant-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(
    argv: list[str],
    ready: Callable[[], Awaitable[bool]],
    stop: signal.Signals,
    *,
    log: Path,
    user: str | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process until the block ends; its words go to `log`."""
    with log.open("ab") as words:
        process = subprocess.Popen(
            argv, stdout=words, stderr=words, user=user, cwd="/", env=environment, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not _answers_now(ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{argv[0]} did not start:\n{log.read_text()[-2000:]}")
            yield process
        finally:
            process.send_signal(stop)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _answers_now(ready: Callable[[], Awaitable[bool]]) -> bool:
    """Ask once, on a loop of its own: the test may have one running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(_answers(ready))).result()


async def _answers(ready: Callable[[], Awaitable[bool]]) -> bool:
    if await ready():
        return True
    await asyncio.sleep(0.1)
    return False


class Server(Protocol):
    """A PostgreSQL server, wherever it runs."""

    def url(self, database: str, role: str = ..., password: str | None = ...) -> str:
        """Return the URL of a database for a role; the owner's by default."""
        ...


@dataclass(frozen=True, slots=True)
class Databases:
    """A database per service, migrated; `url` is the service's role, `owner_url` may do anything."""

    postgres: Server
    password: str
    prefix: str = "garant_"

    def url(self, service: str) -> str:
        """Return the URL by which the service itself connects."""
        name = self.prefix + service
        return self.postgres.url(name, name, self.password)

    @property
    def signer_url(self) -> str:
        """The URL by which the signer connects to its schema of payments' database."""
        return self.postgres.url(f"{self.prefix}payments", f"{self.prefix}signer", self.password)

    def owner_url(self, service: str) -> str:
        """Return the URL of the owner."""
        return self.postgres.url(self.prefix + service)

    async def clean(self) -> None:
        """Empty every table of every service."""
        for service in SERVICES:
            connection = await asyncpg.connect(self.owner_url(service), timeout=5)
            try:
                tables = await connection.fetch(
                    "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                    " WHERE schemaname IN ('public', 'signer') AND tablename <> 'alembic_version'"
                )
                names = ", ".join(row[0] for row in tables)
                await connection.execute(
                    "SET session_replication_role = replica;"  # the ledger's triggers refuse otherwise
                    f"TRUNCATE {names} RESTART IDENTITY CASCADE"
                )
                if service == "accounts":  # the migrations bring it
                    await connection.execute(
                        "INSERT INTO tenant (id, name) OVERRIDING SYSTEM VALUE VALUES (0, 'the house itself')"
                    )
                if service == "payments":  # no table owns it
                    await connection.execute("ALTER SEQUENCE wallet_index RESTART")
            finally:
                await connection.close()


@contextlib.contextmanager
def databases() -> Iterator[Databases]:
    """Run PostgreSQL with fsync on, as in production, with migrated databases."""
    with temporary_folder() as folder:
        postgres = Postgres.prepare(folder, free_port(), secrets.token_hex(12))
        with running(
            postgres.argv(),
            postgres.answers,
            signal.SIGINT,
            log=folder / "postgres.log",
            user=postgres.user,
        ):
            yield provisioned(postgres)


def provisioned(postgres: Server, prefix: str = "garant_") -> Databases:
    """Create and migrate the databases on a server that runs; not for a thread whose event loop runs."""
    found = Databases(postgres, secrets.token_hex(12), prefix)
    asyncio.run(_provision(postgres, found))
    for service in SERVICES:
        upgrade(ROOT / "services" / service / "migrations", found.owner_url(service))
    return found


async def _provision(postgres: Server, found: Databases) -> None:
    for service in SERVICES:
        await provision(postgres.url("postgres"), found.url(service))
    await provision_schema(postgres.url("postgres"), found.signer_url, "signer")


@contextlib.contextmanager
def nats_server() -> Iterator[Nats]:
    """Run NATS with JetStream."""
    with temporary_folder() as folder:
        nats = Nats(folder, free_port(), secrets.token_hex(12))
        with running(nats.argv(), nats.answers, signal.SIGTERM, log=folder / "nats.log"):
            yield nats
