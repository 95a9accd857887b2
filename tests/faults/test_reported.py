"""An error of every service reaches Sentry, and no secret goes with it."""

import asyncio
import time
from contextlib import AsyncExitStack

import asyncpg
import httpx
import pytest

from support.sentry import SERVICES, local_sentry
from support.system import System, running_system
from support.waiting import eventually

ROLES = tuple(f"garant_{name}" for name in SERVICES)


async def set_login(system: System, *, allowed: bool) -> None:
    """Let the services' roles connect, or let none and end the connections that they have."""
    owner = await asyncpg.connect(system.environment["ACCOUNTS_DATABASE_URL"], timeout=5)
    try:
        for role in ROLES:
            await owner.execute(f"ALTER ROLE {role} {'LOGIN' if allowed else 'NOLOGIN'}")
        if not allowed:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY($1)"
            await owner.execute(query, list(ROLES))
    finally:
        await owner.close()


async def ask_signer(system: System) -> int:
    """Ask the signer, which does nothing by itself, for what it has to count; return the status."""
    intent = {"kind": "payout", "withdrawal_id": 1, "asset": "TRX", "to": "TB8hS63CKx92bKwaHkoUChNxoazzS3SFYs"}
    now_ms = round(time.time() * 1000)
    body = {
        "intent": {**intent, "amount": "1000000", "fee_limit": "0"},
        "reference": {"height": 1, "hash": f"{1:016x}{0:048x}", "time_ms": now_ms},
        "timestamp_ms": now_ms,
    }
    headers = {"authorization": f"Bearer {system.secrets['signer_credential']}"}
    async with httpx.AsyncClient(timeout=20) as client:
        return (
            await client.post(f"{system.url('signer')}/internal/v1/sign", json=body, headers=headers)
        ).status_code


@pytest.mark.timeout(180)
async def test_an_error_of_every_service_is_reported_and_no_secret_with_it() -> None:
    async with local_sentry() as sentry, AsyncExitStack() as stack:
        starting = running_system({"SENTRY_DSN": sentry.dsn})
        system = await asyncio.to_thread(starting.__enter__)
        stack.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
        sentry.heard.clear()
        await set_login(system, allowed=False)
        try:
            assert await ask_signer(system) == 503
            await eventually(sentry.services, lambda found: found == set(SERVICES), within_s=60)
        finally:
            await set_login(system, allowed=True)
        kept = system.secrets

    told = "".join(sentry.heard)
    hidden = [v for v in kept.values() if isinstance(v, str)] + list(kept["keys"].values())
    assert len(hidden) > 10
    assert [secret for secret in hidden if secret in told] == []
