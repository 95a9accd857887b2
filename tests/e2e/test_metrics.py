"""What the processes tell Prometheus is there, and is true, also when something is wrong."""

import asyncio
import re
import time
from collections.abc import Callable

import asyncpg
import httpx
import pytest
import socketio
from prometheus_client.parser import text_string_to_metric_families

from garant_local.settings import ROOT
from support.playing import deal, fund, user
from support.system import System, stopped
from support.waiting import eventually

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("processes")]

SERVICES = ("accounts", "deals", "payments", "chat")
Told = dict[tuple[str, str], float]
"""Values by a metric's name and the values of its labels, in their order, separated by commas."""


async def told(system: System, service: str) -> Told:
    """Return what a process tells now."""
    async with httpx.AsyncClient(timeout=10) as http:
        text = (await http.get(f"{system.url(service)}/metrics")).text
    families = list(text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, ",".join(sample.labels.values())): sample.value for sample in samples}


async def until(system: System, service: str, name: str, labels: str, wanted: Callable[[float], bool]) -> Told:
    """Return what a process tells once a value is as wanted."""

    async def ask() -> Told:
        return await told(system, service)

    def accept(found: Told) -> bool:
        value = found.get((name, labels))
        return value is not None and wanted(value)

    return await eventually(ask, accept, within_s=90)


async def test_every_metric_that_operations_explains_is_told_by_a_process(system: System) -> None:
    lines = (ROOT / "docs/operations.md").read_text().splitlines()
    rows = [line.split(" | ")[0] for line in lines if line.startswith("| `garant_")]
    explained = {name for row in rows for name in re.findall(r"garant_[a-z_]+", row)}
    assert len(explained) > 20

    names = set[str]()
    async with httpx.AsyncClient(timeout=10) as http:
        for service in SERVICES:
            text = (await http.get(f"{system.url(service)}/metrics")).text
            names |= set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))

    assert explained - names == set()


async def test_every_service_proves_its_invariants_and_says_when(system: System) -> None:
    began, name = time.time(), "garant_invariants_checked_timestamp_seconds"
    for service in SERVICES:
        found = await until(system, service, name, "", lambda at: at > began)
        wrong = {key for key, value in found.items() if key[0] == "garant_invariant_violations" and value}
        assert wrong == set(), service


async def test_requests_are_counted_by_route_and_status_and_timed(system: System) -> None:
    known = await user(system)
    before = await told(system, "accounts")

    assert (await system.call("GET", f"/user/{known}")).status_code == 200
    assert (await system.call("GET", f"/user/{2**60}")).status_code == 404

    after, route = await told(system, "accounts"), "/api/v1/user/{user_id}"
    for status in ("200", "404"):
        labels = ("garant_http_requests_total", f"GET,{route},{status}")
        assert after[labels] == before.get(labels, 0) + 1
    timed = ("garant_http_request_seconds_count", route)
    assert after[timed] == before.get(timed, 0) + 2


async def test_events_that_cannot_be_published_are_counted_and_grow_old(system: System) -> None:
    with stopped(system, "nats"):
        await user(system)  # which needs no broker
        found = await until(system, "accounts", "garant_outbox_age_seconds", "", lambda age: age > 1)
        assert found["garant_outbox_waiting", ""] >= 1

    await until(system, "accounts", "garant_outbox_waiting", "", lambda waiting: waiting == 0)
    await until(system, "accounts", "garant_outbox_age_seconds", "", lambda age: age == 0)


async def test_connections_of_the_database_are_counted_while_they_wait(system: System) -> None:
    name = "garant_database_connections_used"
    connection = await asyncpg.connect(system.environment["ACCOUNTS_DATABASE_URL"], timeout=5)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE app_user IN ACCESS EXCLUSIVE MODE")
            calls = [asyncio.create_task(user(system)) for _ in range(3)]
            found = await until(system, "accounts", name, "", lambda used: used >= 3)
            assert found[name, ""] <= found["garant_database_connections_most", ""]
    finally:
        await connection.close()
    assert len(set(await asyncio.gather(*calls))) == 3
    await until(system, "accounts", name, "", lambda used: used < 3)


async def test_every_process_says_how_many_connections_it_may_have(system: System) -> None:
    for service in (*SERVICES, "signer"):
        assert (await told(system, service))["garant_database_connections_most", ""] >= 4, service


async def test_the_scan_and_its_node_are_told_and_are_well(system: System) -> None:
    network = "tron"
    found = await until(system, "payments", "garant_payments_scan_lag_blocks", network, lambda blocks: blocks < 5)

    assert found["garant_payments_head_age_seconds", network] < 60
    assert found["garant_payments_scan_lag_seconds", network] < 120
    nodes = {value for (name, _), value in found.items() if name == "garant_payments_node_up"}
    assert nodes == {1.0}


async def test_what_was_credited_and_stays_in_its_wallet_is_unswept_money(system: System) -> None:
    name, before = "garant_payments_unswept_units", await told(system, "payments")
    await fund(system, await user(system), "0.5")  # less than is swept

    expected = before.get((name, "USDT"), 0) + 500_000
    await until(system, "payments", name, "USDT", lambda units: units == expected)


async def test_what_consumers_have_handled_is_told(system: System) -> None:
    await user(system)
    found = await told(system, "deals")
    lags = {labels: value for (name, labels), value in found.items() if name == "garant_event_lag_seconds"}
    waiting = {labels for (name, labels) in found if name == "garant_events_waiting"}

    assert lags
    assert max(lags.values()) < 60
    assert waiting == lags.keys()


async def test_clients_of_the_chat_and_their_rooms_are_counted(system: System) -> None:
    created = await deal(system)
    names = ("garant_chat_connections", "garant_chat_clients", "garant_chat_live_rooms")

    async def all_are(number: int) -> None:
        for name in names:
            await until(system, "chat", name, "", lambda value: value == number)

    await all_are(0)  # those of other tests are gone
    client = socketio.AsyncClient()
    await client.connect(system.environment["GATEWAY_URL"], auth={"token": created["chat_id"]}, wait_timeout=10)
    try:
        await all_are(1)
    finally:
        await client.disconnect()
    await all_are(0)
