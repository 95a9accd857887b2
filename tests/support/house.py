"""Accounts and deals put together in one process, over the real databases.

HTTP between them goes through ASGI; a wire can be told to fail, before or after the other side did the work.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import orjson
from fastapi import FastAPI

import accounts.consumers.events
import accounts.main
import deals.consumers.events
import deals.main
import payments.consumers.events
import payments.main
from accounts.use_cases import manage_keys
from accounts.use_cases.credit_payments import credit_payments
from accounts.use_cases.manage_keys import LocalKeys
from accounts.use_cases.post_operations import Ledger
from common.auth import CachedVerifier
from common.bus import Received, decode
from common.clock import SystemClock
from common.db import Database
from common.internal import InternalClient, RemoteKeys
from common.money import Currencies
from deals.adapters.accounts import HttpAccounts
from deals.adapters.tokens import Ed25519Signer
from deals.use_cases.fund_waiting_deals import fund_waiting_deals, request_funding
from deals.use_cases.settle_commands import Money
from payments.adapters.accounts import HttpAccounts as PaymentsAccounts
from payments.adapters.node import NodeAddress, NodeLimits
from payments.adapters.node_pool import NodePool
from payments.use_cases.context import Payments, Policy, WithdrawalLimits
from payments.use_cases.record_applied import record_applied
from support.servers import Databases
from support.signing import SigningHouse, open_signer

CALLERS = {name: f"secret-of-{name}-0123" for name in ("accounts", "deals", "payments", "chat", "operator")}
USDT = 1_000_000
TRX = 1_000_000
WITHDRAWALS = {
    "USDT": WithdrawalLimits(1_000 * USDT, 5_000 * USDT, 500 * USDT),
    "TRX": WithdrawalLimits(1_000 * TRX, 5_000 * TRX),
}
QUICK_NODES = NodeLimits(calls_per_s=10_000, first_pause_s=0.05, longest_pause_s=0.4, longest_outage_pause_s=0.2)
"""Nodes of a test are asked again at once."""
CURRENCIES = "USDT:6,TRX:6,FUSD:6"
GATEWAYS = ("tron_usdt", "tron_trx")
THRESHOLDS = {"USDT": 1 * USDT, "TRX": 10 * TRX, "FUSD": 1 * USDT}


class Wire(httpx.AsyncBaseTransport):
    """ASGI, with faults: `cut` drops requests, `deaf` loses the answers of requests that were done.

    They strike the paths that end with `only`; all paths do, as long as it is empty.
    """

    def __init__(self, app: FastAPI) -> None:
        self._inner = httpx.ASGITransport(app)
        self.cut = False
        self.deaf = False
        self.only = ""
        self.calls: list[str] = []
        self.gate: asyncio.Event | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request."""
        self.calls.append(request.url.path)
        if self.gate is not None:
            await self.gate.wait()
        struck = request.url.path.endswith(self.only)
        if self.cut and struck:
            raise httpx.ConnectError("cut", request=request)
        response = await self._inner.handle_async_request(request)
        if self.deaf and struck:
            raise httpx.ReadTimeout("deaf", request=request)
        return response


@dataclass(frozen=True, slots=True)
class Plugged:
    """Which gateways payments has, and the assets that the signer may move beside USDT and TRX."""

    gateways: tuple[str, ...] = GATEWAYS
    signer_assets: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class House:
    """The services, clients of one tenant each, and the way to look behind the walls."""

    databases: Databases
    accounts: FastAPI
    deals: FastAPI
    ledger: Ledger
    accounts_db: Database
    money: Money
    wire: Wire
    keys: dict[str, str] = field(default_factory=dict)
    payments: FastAPI | None = None
    parts: Payments | None = None
    signing: SigningHouse | None = None

    def client(self, service: str, key: str = "default") -> httpx.AsyncClient:
        """Return a client of a service with one of the tenant's keys (`default`, `arbiter`, `other`)."""
        app = {"accounts": self.accounts, "deals": self.deals, "payments": self.payments}[service]
        assert app is not None
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://test",
            headers={"authorization": f"Bearer {self.keys[key]}"},
        )

    def internal(self, caller: str, service: str = "accounts") -> httpx.AsyncClient:
        """Return a client of a service's internal endpoints."""
        app = {"accounts": self.accounts, "deals": self.deals}[service]
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://test",
            headers={"authorization": f"Bearer {CALLERS[caller]}"},
        )

    async def call(
        self, service: str, method: str, path: str, json: Any = None, key: str = "default"
    ) -> httpx.Response:
        """Call the public API."""
        async with self.client(service, key) as client:
            return await client.request(method, f"/api/v1{path}", json=json)

    async def user(self, external_id: int, name: str = "somebody", key: str = "default") -> int:
        """Create a user and return the id."""
        body = {"name": name, "external_id": external_id}
        answer = await self.call("accounts", "POST", "/user/", body, key)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["id"])

    async def credit(
        self, user_id: int, units: int, key: str, tenant_id: int = 1, currency: str = "USDT"
    ) -> dict[str, Any]:
        """Post a deposit as payments does."""
        operation = {
            "key": key,
            "kind": "deposit",
            "tenant_id": tenant_id,
            "currency": currency,
            "legs": [
                {"owner": f"external:tron_{currency.lower()}", "amount": str(-units)},
                {"owner": f"user:{user_id}", "amount": str(units)},
            ],
        }
        async with self.internal("payments") as client:
            answer = await client.post("/internal/v1/operations", json={"operations": [operation]})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()["results"][0]
        return result

    async def balance(self, user_id: int, key: str = "default", currency: str = "USDT") -> str:
        """Return a user's balance as text."""
        answer = await self.call("accounts", "GET", f"/user/{user_id}/balance", key=key)
        (found,) = [b for b in answer.json() if b["currency"] == currency]
        return str(found["balance"])

    async def deal(self, customer: int, performer: int, price: Any = "10", **more: Any) -> dict[str, Any]:
        """Create a deal."""
        body = {
            "title": "A logo",
            "description": "Three drafts",
            "price": price,
            "customer_id": customer,
            "performer_id": performer,
            **more,
        }
        answer = await self.call("deals", "POST", "/deal/", body)
        assert answer.status_code == 200, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def act(self, deal_id: int, path: str, key: str = "default") -> httpx.Response:
        """Do an action."""
        return await self.call("deals", "POST", f"/deal/{deal_id}/{path}", key=key)

    async def outbox(self, service: str) -> list[dict[str, Any]]:
        """Return the envelopes in a service's outbox, in order."""
        connection = await asyncpg.connect(self.databases.owner_url(service), timeout=5)
        try:
            rows = await connection.fetch("SELECT envelope FROM outbox ORDER BY id")
        finally:
            await connection.close()
        return [orjson.loads(row[0]) for row in rows]

    async def execute(self, service: str, statement: str) -> None:
        """Change a service's database behind its back."""
        connection = await asyncpg.connect(self.databases.owner_url(service), timeout=5)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def deliver(self, times: int = 2) -> None:
        """Hand each event of the outboxes to its consumers, `times` times, as a broker may."""
        assert self.parts is not None
        for envelope in await self.outbox("payments"):
            if envelope["type"] == "payment.received":
                for _ in range(times):
                    await credit_payments(self.accounts_db, self.ledger, [received(envelope)])
        for envelope in await self.outbox("accounts"):
            if envelope["type"] == "balance.credited":
                for _ in range(times):
                    await record_applied(self.parts, [received(envelope)])
                    await request_funding(self.money, [received(envelope)])
        while await fund_waiting_deals(self.money):
            pass


def received(envelope: dict[str, Any]) -> Received:
    """Return an event as a consumer sees it."""
    return decode(orjson.dumps(envelope))


def nothing() -> None:
    """Do nothing when events were stored: the test looks at the outbox."""


async def add_payments(house: House, stack: AsyncExitStack, node_url: str, plugged: Plugged) -> None:
    """Put payments into the house, with a new seed, on nodes whose URLs are separated by commas."""
    database = Database(house.databases.url("payments"), "payments-test", 10)
    stack.push_async_callback(database.close)
    client = InternalClient("http://accounts", CALLERS["payments"], transport=httpx.ASGITransport(house.accounts))
    stack.push_async_callback(client.close)
    house.signing = await open_signer(
        house.databases, stack, signer_assets=plugged.signer_assets, currencies=CURRENCIES
    )
    pool = NodePool([NodeAddress(url) for url in node_url.split(",")], QUICK_NODES)
    gateways, node = payments.main.build_gateways(pool, house.signing.stored.root, plugged.gateways)
    stack.push_async_callback(node.close)
    house.parts = Payments(
        database=database,
        gateways=gateways,
        accounts=PaymentsAccounts(client),
        signer=house.signing.remote,
        clock=SystemClock(),
        policy=Policy(timedelta(hours=1), THRESHOLDS, 30_000_000, WITHDRAWALS),
        told=nothing,
    )
    app = payments.main.build_app({})
    app.state.database = database
    app.state.followed = payments.consumers.events.followed(client)
    app.state.parts = house.parts
    app.state.verifier = house.deals.state.verifier
    app.state.callers = CALLERS
    app.state.currencies = Currencies.parse(CURRENCIES)
    house.payments = app
    back = InternalClient("http://payments", CALLERS["accounts"], transport=httpx.ASGITransport(app))
    stack.push_async_callback(back.close)
    house.accounts.state.followed = accounts.consumers.events.followed(back)


@asynccontextmanager
async def build_house(
    databases: Databases, node_url: str | None = None, plugged: Plugged | None = None
) -> AsyncIterator[House]:
    """Put the services together over clean databases, with two tenants and their keys.

    Payments is among them where a node is given.
    """
    await databases.clean()
    async with AsyncExitStack() as stack:
        accounts_db = Database(databases.url("accounts"), "accounts-test", 10)
        deals_db = Database(databases.url("deals"), "deals-test", 10)
        stack.push_async_callback(accounts_db.close)
        stack.push_async_callback(deals_db.close)
        ledger = Ledger(accounts_db, nothing)
        accounts_app = accounts.main.build_app({})
        accounts_app.state.database = accounts_db
        accounts_app.state.followed = []
        accounts_app.state.ledger = ledger
        accounts_app.state.verifier = CachedVerifier(LocalKeys(accounts_db))
        accounts_app.state.callers = CALLERS
        accounts_app.state.currencies = Currencies.parse(CURRENCIES)
        wire = Wire(accounts_app)
        client = InternalClient("http://accounts", CALLERS["deals"], transport=wire)
        stack.push_async_callback(client.close)
        keys_client = InternalClient(
            "http://accounts", CALLERS["deals"], transport=httpx.ASGITransport(accounts_app)
        )
        stack.push_async_callback(keys_client.close)
        money = Money(deals_db, HttpAccounts(client), SystemClock(), nothing, nothing)
        deals_app = deals.main.build_app({})
        deals_app.state.database = deals_db
        deals_app.state.followed = deals.consumers.events.followed(keys_client)
        deals_app.state.money = money
        deals_app.state.verifier = CachedVerifier(RemoteKeys(keys_client))
        deals_app.state.callers = CALLERS
        deals_app.state.currencies = Currencies.parse(CURRENCIES)
        deals_app.state.signer = Ed25519Signer("11" * 32)
        house = House(databases, accounts_app, deals_app, ledger, accounts_db, money, wire)
        tenant = await manage_keys.create_tenant(accounts_db, "test")
        other = await manage_keys.create_tenant(accounts_db, "other")
        for name, owner, scopes in (
            ("default", tenant, ["default"]),
            ("arbiter", tenant, ["default", "arbiter"]),
            ("other", other, ["default", "arbiter"]),
            ("withdraw", tenant, ["default", "withdraw"]),
            ("approve", tenant, ["withdraw", "approve"]),
        ):
            house.keys[name] = (await manage_keys.create_key(accounts_db, owner, scopes))[1]
        if node_url is not None:
            await add_payments(house, stack, node_url, plugged or Plugged())
        yield house
