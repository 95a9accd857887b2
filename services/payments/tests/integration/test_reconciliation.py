"""The system proves itself: no false alarm under live traffic, and each tampering is named exactly."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx

from common import metrics
from common.upkeep import Watch
from payments.use_cases.scan_chain import scan_chain
from support.chain import SandboxNode
from support.house import CALLERS, USDT, House

ROUNDS = 6
SERVICES = ("accounts", "deals", "payments")


async def tamper(house: House, service: str, statement: str) -> None:
    """Do as a superuser what no service may do."""
    connection = await asyncpg.connect(house.databases.owner_url(service))
    try:
        await connection.execute(f"SET session_replication_role = replica; {statement}")
    finally:
        await connection.close()


async def proof(house: House, service: str) -> dict[str, Any]:
    """Ask a service's internal endpoint, as an operator does."""
    app = {"accounts": house.accounts, "deals": house.deals, "payments": house.payments}[service]
    assert app is not None
    headers = {"authorization": f"Bearer {CALLERS['operator']}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
    ) as client:
        answer = await client.get("/internal/v1/invariants")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def wrong(house: House) -> dict[str, Any]:
    """Return what is wrong in any service, by the invariant's name."""
    found: dict[str, Any] = {}
    for service in SERVICES:
        answer = await proof(house, service)
        found |= {f"{service}.{name}": items for name, items in answer["violations"].items() if items}
        assert answer["ok"] is not any(answer["violations"].values())
    return found


async def deposit(house: House, node: SandboxNode, user: int, usdt: str) -> None:
    """Pay a user's payment on the chain, scan it, and hand the events around."""
    body = {"gateway_id": "tron_usdt", "user_id": user, "amount": usdt, "currency": "USDT"}
    payment = (await house.call("payments", "POST", "/payment", body)).json()
    await node.admin("faucet", address=payment["gateway_data"]["address"], usdt=usdt)
    await node.settle()
    assert house.parts is not None
    await scan_chain(house.parts, house.parts.gateways["tron_usdt"])
    await house.deliver(1)


async def begin(house: House) -> tuple[int, int]:
    assert house.parts is not None
    await scan_chain(house.parts, house.parts.gateways["tron_usdt"])
    return await house.user(1, "Alice"), await house.user(2, "Bob")


async def test_live_traffic_raises_no_alarm(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, bob = await begin(house)
    over = asyncio.Event()
    metrics.VIOLATIONS.clear()  # other tests of this process raise alarms on purpose

    async def traffic() -> None:
        for _ in range(ROUNDS):
            await deposit(house, tron_node, alice, "30")
            deals = [(await house.deal(alice, bob, 10))["deal_id"] for _ in range(3)]
            await asyncio.gather(*(house.act(deal, "confirm") for deal in deals))
            await asyncio.gather(*(house.act(deal, "close") for deal in deals[1:]))
        over.set()

    def check(service: str) -> Callable[[], Awaitable[dict[str, Any]]]:
        return lambda: proof(house, service)

    async def watching(service: str) -> int:
        watch, passes = Watch(check(service)), 0
        while not over.is_set() or passes < 2:
            await watch.look()
            passes += 1
            alarms = [s for m in metrics.VIOLATIONS.collect() for s in m.samples if s.value]
            assert alarms == [], f"{service}, pass {passes}"
        return passes

    passes = await asyncio.gather(*(watching(service) for service in SERVICES), traffic())

    assert min(p for p in passes if p is not None) >= 2
    assert await wrong(house) == {}


async def test_each_tampering_is_named_exactly(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, bob = await begin(house)
    await deposit(house, tron_node, alice, "30")
    await deposit(house, tron_node, alice, "12")
    deal = (await house.deal(alice, bob, 10))["deal_id"]
    await house.act(deal, "confirm")
    (hidden,) = [e["data"] for e in await house.outbox("payments") if e["data"].get("amount_units") == "12000000"
                 and e["type"] == "payment.received"]  # fmt: skip
    assert await wrong(house) == {}

    await tamper(house, "payments", f"DELETE FROM transfer WHERE txid = '{hidden['txid']}'")
    found = await wrong(house)
    key = hidden["operation_key"]
    assert found == {
        "payments.credited_without_deposit": [{"key": key, "booked_units": str(12 * USDT), "stored_units": "0"}],
        "payments.wallet_unlike_chain": [
            {"address": hidden["address"], "currency": "USDT", "chain_units": str(12 * USDT), "stored_units": "0"}
        ],
    }


async def test_a_changed_adjustment_is_named(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, _ = await begin(house)
    await deposit(house, tron_node, alice, "30")
    await deposit(house, tron_node, alice, "12")

    await tamper(house, "accounts", "UPDATE adjustment SET amount = amount + 1 WHERE seq = 2")

    found = await wrong(house)
    assert set(found) == {"accounts.balance_after_runs", "accounts.operation_is_whole",
                          "payments.applied_not_booked", "payments.credited_without_deposit"}  # fmt: skip
    (adjustment,) = found["accounts.balance_after_runs"]
    assert (adjustment["owner"], adjustment["seq"]) == (f"user:{alice}", 2)
    assert {adjustment["key"]} == {
        item["key"] for name, items in found.items() if name != "accounts.balance_after_runs" for item in items
    }


async def test_a_deleted_adjustment_and_a_changed_balance_are_named(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house = paying_house
    alice, _ = await begin(house)
    await deposit(house, tron_node, alice, "30")

    await tamper(house, "accounts", f"UPDATE account SET balance = balance + 1 WHERE owner = 'user:{alice}'")
    (changed,) = (await wrong(house))["accounts.balance_is_last"]
    await tamper(house, "accounts", "DELETE FROM adjustment WHERE seq = 1")
    (deleted,) = (await wrong(house))["accounts.operation_is_whole"]

    assert (changed["owner"], changed["balance"], changed["balance_after"]) == (
        f"user:{alice}",
        str(30 * USDT + 1),
        str(30 * USDT),
    )
    assert deleted["key"].startswith("tron:")


async def test_a_deleted_event_is_named_handled_or_not(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, bob = await begin(house)
    await deposit(house, tron_node, alice, "30")
    deal = (await house.deal(alice, bob, 10))["deal_id"]
    (credited,) = [e for e in await house.outbox("accounts") if e["type"] == "balance.credited"]

    await tamper(house, "accounts", f"DELETE FROM outbox WHERE event_id = '{credited['id']}'")
    await tamper(house, "deals", "DELETE FROM outbox WHERE subject = 'deal.created'")

    assert await wrong(house) == {
        "accounts.change_not_told": [{"aggregate": f"user:{alice}:USDT", "version": 1}],
        "deals.change_not_told": [{"aggregate": f"deal:{deal}", "version": 1}],
        "deals.event_not_in_outbox": [f"request_funding:{credited['id']}"],
        "payments.event_not_in_outbox": [f"record_applied:{credited['id']}"],
    }


async def test_a_deal_that_holds_what_it_must_not_is_named(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, bob = await begin(house)
    await deposit(house, tron_node, alice, "30")
    held, empty = [(await house.deal(alice, bob, 10))["deal_id"] for _ in range(2)]
    await house.act(held, "confirm")

    await tamper(house, "deals", f"UPDATE deal SET status = 'cancelled' WHERE id = {held}")
    await tamper(house, "deals", f"UPDATE deal SET status = 'confirmed' WHERE id = {empty}")

    named = (await wrong(house))["deals.deal_holds_its_price"]
    assert [(n["deal_id"], n["held_units"], n["implied_units"]) for n in named] == [
        (held, str(10 * USDT), "0"),
        (empty, "0", str(10 * USDT)),
    ]
