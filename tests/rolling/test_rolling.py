"""Two of each, live traffic, and everything replaced or restarted in turn: nothing is lost and nothing fails."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from garant_local.settings import ROOT
from support.client import Client, client_of
from support.composed import SCALED, composed_system, roll
from support.conversation import Conversation
from support.proofs import Chain, prove
from support.stories import Cast
from support.system import System, containers_of, docker
from support.waiting import eventually
from torture.traffic import Traffic

REPLICATED = (
    "accounts-api",
    "accounts-worker",
    "deals-api",
    "deals-worker",
    "payments-api",
    "payments-worker",
    "chat-api",
    "chat-worker",
)
SERVERS = ("nats", "postgres")
WORKERS = 3
CONVERSATIONS = 3
PATIENCE_S = 60.0
REST_WITHIN_S = 180.0

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def scaled() -> Iterator[System]:
    with composed_system(SCALED) as found:
        yield found


def restart(system: System, service: str) -> None:
    (container,) = containers_of(str(system.project), service)
    docker("restart", "--time", "60", container)


async def conversation(client: Client) -> Conversation:
    cast = Cast(client)
    await cast.enter(with_money=False)
    deal_id = await cast.deal("created")
    chat_id = (await cast.read(deal_id))["chat_id"]
    return Conversation(client.system.environment["GATEWAY_URL"], chat_id, cast.customer)


def replicas(system: System, service: str, port: int) -> list[str]:
    """Return the URL of each replica, by the address that Docker gave it."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    found = containers_of(str(system.project), service)
    return [f"http://{docker('inspect', '--format', form, one).strip()}:{port}" for one in found]


async def connections(system: System) -> list[float]:
    """Return how many connections each replica of chat has now."""
    found = []
    async with httpx.AsyncClient(timeout=5) as http:
        for url in replicas(system, "chat-api", 8004):
            told = (await http.get(f"{url}/metrics")).text
            found += [float(s.split()[1]) for s in told.splitlines() if s.startswith("garant_chat_connections ")]
    return found


async def command(system: System, *arguments: str) -> str:
    """Run a command of accounts and return what it prints."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "accounts", *arguments],
        env={**os.environ, **system.environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=ROOT,
    )
    return done.stdout


async def test_a_revoked_key_is_refused_by_every_replica_within_five_seconds(scaled: System) -> None:
    tenant = (await command(scaled, "create-tenant", "--name", "revoking")).strip()
    made = json.loads(await command(scaled, "create-key", "--tenant", tenant, "--scope", "default"))
    paths = (("accounts-api", 8001, "/api/v1/user/1"), ("deals-api", 8002, "/api/v1/deal"))
    urls = [url + path for service, port, path in paths for url in replicas(scaled, service, port)]
    urls += [url + "/api/v1/payment/gateways" for url in replicas(scaled, "payments-api", 8003)]
    async with httpx.AsyncClient(timeout=5, headers={"authorization": f"Bearer {made['key']}"}) as http:

        async def refused() -> list[bool]:
            return [(await http.get(url)).status_code == 401 for url in urls]

        assert await refused() == [False] * 6
        await command(scaled, "revoke-key", "--key-id", str(made["key_id"]))
        await eventually(refused, lambda found: all(found), within_s=5)


async def test_everything_is_replaced_under_live_traffic_and_nothing_is_lost(scaled: System) -> None:
    async with client_of(scaled, PATIENCE_S) as client:
        traffic, chain = Traffic(client, seed=7), Chain(client)
        talks = [await conversation(client) for _ in range(CONVERSATIONS)]
        working = [asyncio.create_task(traffic.work(worker)) for worker in range(WORKERS)]
        talking = [asyncio.create_task(talk.run()) for talk in talks]
        await asyncio.sleep(5)  # traffic before the first replacement
        await eventually(lambda: connections(scaled), lambda found: len(found) == 2 and all(found))
        begun = time.monotonic()
        before = {one for service in REPLICATED for one in containers_of(str(scaled.project), service)}
        for service in REPLICATED:
            done = await asyncio.to_thread(roll, scaled, service, SCALED)
            assert done.returncode == 0, done.stdout + done.stderr
        after = {one for service in REPLICATED for one in containers_of(str(scaled.project), service)}
        for service in SERVERS:
            await asyncio.to_thread(restart, scaled, service)
            await asyncio.sleep(5)
        took_s = time.monotonic() - begun
        traffic.open = False
        for talk in talks:
            talk.open = False
        await asyncio.gather(*working, *talking)
        await traffic.rest(chain, REST_WITHIN_S)
        wrong = traffic.failures + [text for talk in talks for text in await talk.check()]
        wrong += await prove(client, chain, told_once=False)
        messages = sum(len(talk.told) for talk in talks)
        print(
            f"\n{len(before)} containers replaced, {len(SERVERS)} servers restarted in {took_s:.0f} s:"
            f" {client.calls} calls, {client.retries} retries, {len(traffic.failures)} failures,"
            f" {len(client.broken)} answers 500, {len(traffic.casts)} stories, {messages} messages,"
            f" {sum(talk.returns for talk in talks)} speakers came back"
        )
    assert wrong == []
    assert len(before) == len(after) == 2 * len(REPLICATED)
    assert not before & after
    assert messages > 100
    assert len(traffic.casts) > 10
