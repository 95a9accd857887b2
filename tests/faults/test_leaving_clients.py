"""Clients that leave in the middle of a request take nothing with them: no connection, no transaction, no unit."""

import asyncio
import random

import asyncpg
import orjson
import pytest
import sqlalchemy as sa

from support.house import CALLERS, USDT, House
from support.leavers import Call, leave_all
from support.servers import Databases
from support.town import Town, check_town
from support.waiting import eventually
from support.wires import WiredHouse, served

CLIENTS = 500
DEALS = 40
IDLE_IN_TRANSACTION = """
    SELECT count(*) FROM pg_stat_activity
     WHERE application_name = ANY($1) AND (state LIKE 'idle in transaction%' OR state = 'active')
"""


async def stuck(databases: Databases, *applications: str) -> int:
    """Return how many connections of the services are inside a transaction."""
    connection = await asyncpg.connect(databases.owner_url("accounts"), timeout=5)
    try:
        return int(await connection.fetchval(IDLE_IN_TRANSACTION, list(applications)))
    finally:
        await connection.close()


def calls_of(
    ports: dict[str, int], key: str, deals: list[int], parties: tuple[int, int], rng: random.Random
) -> list[Call]:
    """Return calls of every kind that moves something."""
    customer, performer = parties
    user = orjson.dumps({"name": "somebody", "external_id": 77})
    deal = {"title": "A logo", "description": "Blue", "price": "1", "customer_id": customer}
    operation = {
        "key": "tron:leaver:0",
        "kind": "deposit",
        "tenant_id": 1,
        "currency": "USDT",
        "legs": [
            {"owner": "external:tron_usdt", "amount": "-1000000"},
            {"owner": f"user:{performer}", "amount": "1000000"},
        ],
    }
    posting = orjson.dumps({"operations": [operation]})
    kinds = [
        lambda: Call(ports["accounts"], "POST", "/api/v1/user/", key, user),
        lambda: Call(ports["accounts"], "GET", f"/api/v1/user/{customer}/balance", key),
        lambda: Call(ports["accounts"], "POST", "/internal/v1/operations", CALLERS["payments"], posting),
        lambda: Call(
            ports["deals"], "POST", "/api/v1/deal/", key, orjson.dumps(deal | {"performer_id": performer})
        ),
        lambda: Call(ports["deals"], "POST", f"/api/v1/deal/{rng.choice(deals)}/confirm", key),
        lambda: Call(ports["deals"], "GET", f"/api/v1/deal/{rng.choice(deals)}/close", key),
        lambda: Call(ports["deals"], "POST", f"/api/v1/deal/{rng.choice(deals)}/cancel", key),
    ]
    return [rng.choice(kinds)() for _ in range(CLIENTS)]


async def deposited_by_leavers(house: House) -> int:
    """Return what the one posting that every leaver repeats has put in: all of it, or nothing."""
    async with house.accounts_db.transaction() as connection:
        query = "SELECT count(*) FROM operation WHERE key = 'tron:leaver:0'"
        return int(await connection.value(sa.text(query))) * USDT


async def checked_out(house: House) -> int:
    """Return how many connections of the pools are in somebody's hands."""
    return house.accounts_db.in_use + house.money.database.in_use


async def test_clients_that_leave_give_every_connection_back(wired_house: WiredHouse, rng: random.Random) -> None:
    house = wired_house.house
    alice, bob = await house.user(1), await house.user(2)
    await house.credit(alice, 10 * USDT, "tron:a:0")
    deals = [(await house.deal(alice, bob, 1))["deal_id"] for _ in range(DEALS)]

    async with served(house.deals) as deals_port:
        ports = {"accounts": wired_house.proxy.target, "deals": deals_port}
        await leave_all(calls_of(ports, house.keys["default"], deals, (alice, bob), rng), rng)

        await eventually(lambda: checked_out(house), lambda count: count == 0, within_s=30)
        await eventually(
            lambda: stuck(house.databases, "accounts-test", "deals-test"), lambda count: count == 0, within_s=30
        )
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(house.call("deals", "GET", f"/deal/{deal}") for deal in deals))

    assert {answer.status_code for answer in answers} == {200}
    await wired_house.settle_later()
    await wired_house.check()
    async with house.accounts_db.transaction() as connection:
        total = await connection.value(sa.text("SELECT sum(balance)::text FROM account"))
    assert int(total) == 10 * USDT + await deposited_by_leavers(house)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(180)
async def test_services_shrug_off_clients_that_leave(town: Town, rng: random.Random) -> None:
    alice, bob = await town.user(), await town.user()
    await town.credit(alice, 10 * USDT)
    deals = [await town.deal(alice, bob, 1) for _ in range(DEALS)]
    known = [deal for deal in deals if deal is not None]
    ports = {name: int(url.rpartition(":")[2]) for name, url in town.urls.items()}
    before = await leavers_deposits(town)

    await leave_all(calls_of(ports, town.key, known, (alice, bob), rng), rng)

    await eventually(lambda: stuck(town.databases, *ports), lambda count: count == 0, within_s=30)
    async with asyncio.timeout(30):
        answers = await asyncio.gather(
            *(town.call("deals", "GET", f"/deal/{deal}") for deal in known),
            *(town.call("accounts", "GET", f"/user/{alice}/balance") for _ in range(40)),
        )
    assert {answer.status_code for answer in answers} == {200}
    town.deposited += (await leavers_deposits(town) - before) * USDT
    await check_town(town)


async def leavers_deposits(town: Town) -> int:
    return int(await town.fetch("accounts", "SELECT count(*) FROM operation WHERE key = 'tron:leaver:0'"))
