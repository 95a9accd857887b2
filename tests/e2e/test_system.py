"""The whole system through its gateway."""

import asyncio
import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import asyncpg
import httpx
import nats
import orjson
import pytest
from nats.aio.client import Client

from garant_local.settings import ROOT
from support.contracts import check_event
from support.playing import deal, fund
from support.system import System, read_environment, stopped
from support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

processes = pytest.mark.usefixtures("processes")
"""Looks at, or ends, a process of `make run`."""


async def status_of(system: System, deal_id: int) -> str:
    return str((await system.call("GET", f"/deal/{deal_id}")).json()["status"])


async def told(client: Client) -> set[str]:
    """Return the subjects of all events, each held against its contract."""
    seen = set()
    for stream in ("ACCOUNTS", "DEALS", "PAYMENTS", "CHAT"):
        subscription = await client.jetstream().subscribe(">", stream=stream, ordered_consumer=True)
        async for message in subscription.messages:
            check_event(orjson.loads(message.data))
            seen.add(message.subject)
            if message.metadata.num_pending == 0:
                break
        await subscription.unsubscribe()
    return seen


async def test_the_demo_plays_the_whole_story_and_every_event_fits_its_contract(system: System) -> None:
    environment = {**os.environ, "GARANT_DATA": str(system.data)}
    played = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "garant_local", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert played.returncode == 0, played.stdout + played.stderr

    wanted = {
        "user.upserted", "balance.credited", "balance.debited", "deal.created", "deal.waiting_for_payment",
        "deal.confirmed", "deal.closed", "dispute.opened", "dispute.closed", "payment.created",
        "payment.received", "payment.swept", "payment.succeeded", "withdrawal.requested", "withdrawal.sent",
        "withdrawal.succeeded", "chat.message",
    }  # fmt: skip
    client = await nats.connect(system.environment["NATS_URL"])

    async def missing() -> set[str]:
        return wanted - await told(client)

    try:
        await eventually(missing, lambda subjects: not subjects)  # the last are on their way
    finally:
        await client.close()


@pytest.mark.parametrize(
    "path",
    [
        "/internal/v1/invariants",
        "/api/v1/user/../../../internal/v1/invariants",
        "/api/v1/user/%2e%2e/%2e%2e/%2e%2e/internal/v1/invariants",
        "/api/v1/user/..%2f..%2f..%2finternal/v1/invariants",
        "/api/v1/deal//../../../internal/v1/invariants",
        "//internal/v1/invariants",
        "/api/v1/user;/../../../internal/v1/invariants",
        "/INTERNAL/v1/invariants",
        "/api/v1/internal/v1/invariants",
        "/api/v1/user/internal/v1/invariants",
        "/api/v1/payment/..;/..;/..;/internal/v1/invariants",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/user/../../../healthz",
        "/api/v1/chat/../../../readyz",
        "/socket.io/../healthz",
        "/socket.io/%2e%2e/readyz",
        "/internal/openapi.json",
        "/api/v1/users",
        "/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_is_inside_cannot_be_reached_by_any_spelling(system: System, path: str, method: str) -> None:
    url = httpx.URL(system.environment["GATEWAY_URL"])
    headers = f"Host: x\r\nAuthorization: Bearer {system.environment['API_KEY']}\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"{method} {path} HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n".encode())
    answer = (await asyncio.wait_for(reader.read(), 20)).decode()
    writer.close()

    status = int(answer.split()[1])
    assert status in (400, 404, 405, 422), answer
    assert "application/problem+json" in answer or status == 400
    assert "violations" not in answer
    assert '"status":"ok"' not in answer


@pytest.mark.parametrize("path", ["/api/v1/user/", "/api/v1/deal/", "/api/v1/payment"])
async def test_a_body_over_64_kib_is_413(system: System, path: str) -> None:
    async with system.client() as client:
        for content in (b'"' + b"x" * 65_535 + b'"', b"x" * 5_000_000):
            answer = await client.post(path, content=content)
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_the_documentation_needs_no_network(system: System) -> None:
    async with system.client(None) as client:
        for path in ("/docs", "/docs/"):
            page = await client.get(path)
            assert page.status_code == 200
            assert "text/html" in page.headers["content-type"]
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page.text)
    for path in ("/api/v1/user", "/api/v1/deal/{deal_id}/confirm", "/api/v1/payment", "Socket.IO"):
        assert path in page.text


async def test_what_is_just_created_can_be_used_at_once_everywhere(system: System) -> None:
    for _ in range(10):
        created = await deal(system)
        body = {
            "gateway_id": "tron_usdt",
            "user_id": created["customer_id"],
            "amount": "1",
            "currency": "USDT",
        }
        assert (await system.call("POST", "/payment", body)).status_code == 200


async def test_a_request_id_follows_the_call_into_its_events(system: System) -> None:
    created = await deal(system)
    mark = f"mark-{secrets.token_hex(8)}"
    async with system.client() as client:
        path = f"/api/v1/deal/{created['deal_id']}/deny"
        answer = await client.post(path, headers={"x-request-id": mark})
    assert answer.headers["x-request-id"] == mark
    connection = await asyncpg.connect(system.environment["DEALS_DATABASE_URL"])
    try:
        found = await connection.fetchval(
            "SELECT envelope->>'type' FROM outbox WHERE envelope->>'request_id' = $1", mark
        )
    finally:
        await connection.close()
    assert found == "deal.denied"


@processes
async def test_a_deal_finishes_by_itself_when_accounts_was_stopped(system: System) -> None:
    created = await deal(system)
    await fund(system, created["customer_id"], "10")

    async def balance() -> str:
        found = await system.call("GET", f"/user/{created['customer_id']}/balance")
        return str(found.json()[0]["balance"])

    await eventually(balance, lambda b: b == "10.000000", within_s=40)
    pid = system.process("accounts")
    os.kill(pid, signal.SIGSTOP)
    try:
        confirming = await system.call("POST", f"/deal/{created['deal_id']}/confirm")
        denying = await system.call("POST", f"/deal/{created['deal_id']}/deny")
    finally:
        os.kill(pid, signal.SIGCONT)

    assert (confirming.status_code, confirming.json()["status"]) == (202, "created")
    assert (denying.status_code, denying.json()["code"]) == (409, "pending")

    async def status() -> str:
        return await status_of(system, created["deal_id"])

    await eventually(status, lambda s: s == "confirm_performer", within_s=60)
    assert await balance() == "0.000000"


@processes
async def test_a_killed_service_is_started_again_and_goes_on(system: System) -> None:
    created = await deal(system)
    for service in ("deals", "accounts", "payments", "signer", "chat"):
        os.kill(system.process(service), signal.SIGKILL)

    async def answers() -> list[int]:
        calls = (f"/deal/{created['deal_id']}", f"/user/{created['customer_id']}", "/payment/gateways")
        return [(await system.call("GET", path)).status_code for path in calls]

    found = await answers()
    assert set(found) <= {200, 503}
    await eventually(answers, lambda codes: codes == [200, 200, 200], within_s=60)
    assert (await system.call("POST", f"/deal/{created['deal_id']}/confirm")).status_code == 200


async def test_a_revoked_key_is_refused_everywhere_within_seconds(system: System) -> None:
    async def command(*arguments: str) -> str:
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

    tenant = (await command("create-tenant", "--name", f"t{secrets.token_hex(4)}")).strip()
    made = orjson.loads(await command("create-key", "--tenant", tenant, "--scope", "default"))
    system.environment["SHORT_KEY"] = made["key"]

    async def codes() -> list[int]:
        paths = ("/user/1", "/deal/", "/payment/gateways")
        return [(await system.call("GET", path, key="SHORT_KEY")).status_code for path in paths]

    assert await codes() == [404, 200, 200]
    await command("revoke-key", "--key-id", str(made["key_id"]))
    await eventually(codes, lambda found: found == [401, 401, 401], within_s=10)


@processes
async def test_the_signer_alone_is_told_of_the_seeds_key(system: System) -> None:
    told = {name: read_environment(system.process(name)) for name in ("payments", "signer")}
    for name in ("PAYMENTS_SEED_KEY_FILE", "SIGNER_DATABASE_URL"):
        assert name not in told["payments"]
        assert name in told["signer"]
    checked = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "payments", "check-seed"],
        env={**os.environ, **system.environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr
    assert system.environment["TRON_MAIN_WALLET"] in checked.stdout


@contextlib.asynccontextmanager
async def at_rest(system: System) -> AsyncIterator[None]:
    """Let payments sleep while no transaction of it is open: one would keep its locks."""
    query = """
        SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND backend_type = 'client backend' AND state <> 'idle'
           AND pid <> pg_backend_pid()
    """
    connection = await asyncpg.connect(system.environment["PAYMENTS_DATABASE_URL"], timeout=5)
    try:
        for _ in range(100):
            with stopped(system, "payments"):
                if await connection.fetchval(query) == 0:
                    yield
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("payments never rests")
    finally:
        await connection.close()


@processes
async def test_a_restore_where_nothing_is_lost_changes_nothing(system: System) -> None:
    created = await deal(system)
    await fund(system, created["customer_id"], "3")

    async def balance() -> str:
        found = await system.call("GET", f"/user/{created['customer_id']}/balance")
        return str({b["currency"]: b["balance"] for b in found.json()}["USDT"])

    await eventually(balance, lambda b: b == "3.000000", within_s=40)
    environment = read_environment(system.process("payments"))
    async with at_rest(system):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "payments", "restore-wallets"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    found = orjson.loads(done.stdout)
    assert [found[name] for name in ("deposits", "wallets", "carried_forward", "problems")] == [0, 0, 0, []]
    assert await balance() == "3.000000"


async def test_no_secret_is_in_a_log(system: System) -> None:
    kept = system.secrets
    hidden = [v for k, v in kept.items() if isinstance(v, str)] + list(kept["keys"].values())
    logs = system.logs()
    assert len(logs) > 1000
    assert [secret for secret in hidden if secret in logs] == []
