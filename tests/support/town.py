"""Accounts, deals and payments' API as processes, on a PostgreSQL and a NATS that a test may stop and break."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
import orjson

from accounts.use_cases import manage_keys
from common.db import Database
from garant_local.nats import Nats
from garant_local.postgres import Postgres
from garant_local.stack import answers
from payments.adapters.keys import new_seed
from payments.use_cases.manage_seed import create_seed
from support.house import CALLERS
from support.proxy import FaultProxy, fault_proxy
from support.servers import Databases, free_port, provisioned, temporary_folder
from support.signing import SEED_KEY
from support.waiting import eventually

SERVICES = ("accounts", "deals")
"""Those that the tests play with; payments' API is there because accounts compares its inbox with the outbox."""
COMMANDS = {"accounts": "serve", "deals": "serve", "payments": "api"}
START_S = 60
STOP_S = 15


@dataclass(slots=True)
class Process:
    """A program that can be stopped and started again, with the same files and the same port."""

    argv: list[str]
    ready: Callable[[], Awaitable[bool]]
    log: Path
    user: str | None = None
    environment: dict[str, str] | None = None
    running: "subprocess.Popen[bytes] | None" = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._spawn()
        await eventually(self.ready, within_s=START_S)

    def _spawn(self) -> None:
        with self.log.open("ab") as words:
            self.running = subprocess.Popen(
                self.argv,
                stdout=words,
                stderr=words,
                user=self.user,
                cwd="/",
                env=self.environment,
                start_new_session=True,
            )

    async def stop(self, how: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        if self.running is None:
            return
        process, self.running = self.running, None
        process.send_signal(how)
        try:
            await asyncio.to_thread(process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)

    @property
    def alive(self) -> bool:
        """Tell whether the process that was started last still runs."""
        return self.running is not None and self.running.poll() is None


@dataclass(slots=True)
class Town:
    """The running parts, a client of the public API, and the way to look behind the walls."""

    databases: Databases
    postgres: Process
    nats: Process
    nats_url: str
    proxy: FaultProxy
    """Between the services and NATS."""
    urls: dict[str, str] = field(default_factory=dict)
    services: dict[str, Process] = field(default_factory=dict)
    key: str = ""
    deposited: int = 0
    users: int = 0
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30, trust_env=False))

    async def call(self, service: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """Call the public API of a service; a 500 is a bug at any time."""
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"{self.urls[service]}/api/v1{path}"
        answer = await self.client.request(method, url, json=body, headers=headers)
        assert answer.status_code != 500, answer.text
        return answer

    async def internal(self, service: str, caller: str, method: str, path: str, body: Any = None) -> Any:
        """Call an internal endpoint until it answers 200; return its JSON."""
        headers = {"authorization": f"Bearer {CALLERS[caller]}"}

        async def ask() -> httpx.Response:
            url = f"{self.urls[service]}/internal/v1{path}"
            return await self.client.request(method, url, json=body, headers=headers)

        return (await eventually(ask, lambda answer: answer.status_code == 200, within_s=40)).json()

    async def user(self) -> int:
        """Create a user, insisting."""
        self.users += 1
        body = {"name": "somebody", "external_id": self.users}

        async def ask() -> httpx.Response:
            return await self.call("accounts", "POST", "/user", body)

        return int((await eventually(ask, lambda a: a.status_code == 200)).json()["id"])

    async def credit(self, user_id: int, units: int) -> None:
        """Pay in, insisting: the key is posted until its outcome is known."""
        self.deposited += units
        operation = {
            "key": f"tron:{secrets.token_hex(8)}:0",
            "kind": "deposit",
            "tenant_id": 1,
            "currency": "USDT",
            "legs": [
                {"owner": "external:tron_usdt", "amount": str(-units)},
                {"owner": f"user:{user_id}", "amount": str(units)},
            ],
        }
        body = {"operations": [operation]}
        found = await self.internal("accounts", "payments", "POST", "/operations", body)
        assert found["results"][0]["outcome"] == "applied", found

    async def deal(self, customer: int, performer: int, price: int) -> int | None:
        """Create a deal; None where it is not known whether it was."""
        body = {"title": "A logo", "description": "Blue", "price": price}
        parties = {"customer_id": customer, "performer_id": performer}
        answer = await self.call("deals", "POST", "/deal", body | parties)
        assert answer.status_code in (200, 503), answer.text
        return int(answer.json()["deal_id"]) if answer.status_code == 200 else None

    async def act(self, deal_id: int, action: str) -> httpx.Response:
        """Do an action."""
        return await self.call("deals", "POST", f"/deal/{deal_id}/{action}")

    async def fetch(self, service: str, query: str, *arguments: Any) -> Any:
        """Return one value of a service's database."""
        connection = await asyncpg.connect(self.databases.owner_url(service), timeout=5)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def unpublished(self) -> int:
        """Return how many events wait for their relays."""
        query = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
        return sum([int(await self.fetch(service, query)) for service in SERVICES])

    async def pending(self) -> int:
        """Return how many money commands are in flight."""
        return int(await self.fetch("deals", "SELECT count(*) FROM money_command WHERE state = 'pending'"))

    async def stored_events(self, stream: str) -> list[tuple[str, str, int]]:
        """Return event id, aggregate and version of what a stream holds, in its order, past the proxy."""
        client = await nats.connect(self.nats_url)
        found: list[tuple[str, str, int]] = []
        try:
            subscription = await client.jetstream().subscribe(">", stream=stream, ordered_consumer=True)
            async for message in subscription.messages:
                body = orjson.loads(message.data)
                found.append((body["id"], body["aggregate"], body["aggregate_version"]))
                if message.metadata.num_pending == 0:
                    break
            await subscription.unsubscribe()
        finally:
            await client.close()
        return found


async def check_town(town: Town) -> None:
    """Wait until everything is settled and told, then prove that nothing was lost or doubled."""
    assert all(process.alive for process in town.services.values()), "a service has ended"
    await eventually(town.pending, lambda count: count == 0, within_s=45)
    await eventually(town.unpublished, lambda count: count == 0, within_s=45)
    for service in SERVICES:
        found = await town.internal(service, "operator", "GET", "/invariants")
        assert found["ok"], found
    assert int(await town.fetch("accounts", "SELECT sum(balance) FROM account")) == town.deposited
    for stream in SERVICES:
        await _check_stream(town, stream)
    query = "SELECT count(*) FROM outbox WHERE subject = 'balance.credited'"
    told = int(await town.fetch("accounts", query))

    async def effective() -> int:
        return int(await town.fetch("deals", "SELECT count(*) FROM inbox WHERE consumer = 'request_funding'"))

    await eventually(effective, lambda count: count == told, within_s=30)


async def _check_stream(town: Town, service: str) -> None:
    """Every event of the outbox is in the stream, and the versions of each aggregate ascend."""
    stored = await town.stored_events(service.upper())
    ids = await town.fetch(service, "SELECT array_agg(event_id::text) FROM outbox")
    assert {event_id for event_id, _, _ in stored} == set(ids)
    seen: set[str] = set()
    last: dict[str, int] = {}
    for event_id, aggregate, version in stored:
        if event_id not in seen:  # told twice where the broker's memory of ids is over; consumers know it
            assert version > last.get(aggregate, 0), (aggregate, version)
            seen.add(event_id)
            last[aggregate] = version


def _environment(name: str, town: Town) -> dict[str, str]:
    through_proxy = town.nats_url.rpartition(":")[0] + f":{town.proxy.port}"
    return {
        **os.environ,
        "NATS_URL": through_proxy,
        "SERVICE_CREDENTIAL": CALLERS[name],
        "SERVICE_CALLERS": json.dumps(CALLERS),
        f"{name.upper()}_DATABASE_URL": town.databases.url(name),
        f"{name.upper()}_PORT": town.urls[name].rpartition(":")[2],
        "ACCOUNTS_URL": town.urls["accounts"],
        "PAYMENTS_URL": town.urls["payments"],
        "SIGNER_CREDENTIAL": "nothing-is-signed-here",
        "CHAT_TOKEN_PRIVATE_KEY": "11" * 32,
    }


@contextlib.asynccontextmanager
async def running_town() -> AsyncIterator[Town]:
    """Start everything and stop it in the end."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        cluster = await asyncio.to_thread(Postgres.prepare, folder, free_port(), secrets.token_hex(12))
        postgres = Process(cluster.argv(), cluster.answers, folder / "postgres.log", user=cluster.user)
        broker = Nats(folder, free_port(), secrets.token_hex(12))
        queue = Process(broker.argv(), broker.answers, folder / "nats.log")
        for process in (postgres, queue):
            stack.push_async_callback(process.stop, signal.SIGQUIT)  # the folder is thrown away
            await process.start()
        databases = await asyncio.to_thread(provisioned, cluster)
        proxy = await stack.enter_async_context(fault_proxy(broker.port))
        town = Town(databases, postgres, queue, broker.url, proxy)
        town.key = await _key(databases)
        await _make_seed(databases)
        town.urls = {name: f"http://127.0.0.1:{free_port()}" for name in COMMANDS}
        for name, command in COMMANDS.items():
            process = Process(
                [sys.executable, "-m", name, command],
                answers(f"{town.urls[name]}/readyz"),
                folder / f"{name}.log",
                environment=_environment(name, town),
            )
            town.services[name] = process
        stack.push_async_callback(_stop_services, town)
        stack.push_async_callback(town.client.aclose)
        await asyncio.gather(*(process.start() for process in town.services.values()))
        yield town


async def _stop_services(town: Town) -> None:
    await asyncio.gather(*(process.stop(signal.SIGTERM) for process in town.services.values()))


async def _make_seed(databases: Databases) -> None:
    """Make the seed without which payments does not start."""
    database = Database(databases.signer_url, "town", 2)
    try:
        await create_seed(database, lambda: new_seed(SEED_KEY))
    finally:
        await database.close()


async def _key(databases: Databases) -> str:
    database = Database(databases.url("accounts"), "town", 2)
    try:
        tenant = await manage_keys.create_tenant(database, "town")
        return (await manage_keys.create_key(database, tenant, ["default", "arbiter"]))[1]
    finally:
        await database.close()
