"""Payments from the first request to the sweep, step by step, with the proof that all books agree."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import asyncpg

import accounts.use_cases.check_invariants as ledger_check
from common.db import Connection
from payments.domain.intents import Stake
from payments.domain.model import Purpose, Signed
from payments.domain.ports import Gateway
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.check_payments import check_payments
from payments.use_cases.context import Payments
from payments.use_cases.post_bookings import post_bookings
from payments.use_cases.scan_chain import scan_chain
from payments.use_cases.send_transaction import send
from support.chain import USDT, SandboxNode
from support.customer import FAKE
from support.house import House
from tron_sandbox.endpoints.network import SETTABLE
from tron_sandbox.world import Parameters

AT_ONCE = timedelta()
MOST_PASSES = 12


@dataclass(frozen=True, slots=True)
class Cashier:
    """A house with payments, and its node."""

    house: House
    node: SandboxNode

    @property
    def parts(self) -> Payments:
        """The parts of payments."""
        return parts_of(self.house)

    def gateway(self, gateway_id: str = "tron_usdt") -> Gateway:
        """Return a gateway."""
        return gateway_of(self.house, gateway_id)

    def decide(self, **policy: Any) -> None:
        """Change what the operator decides."""
        assert self.house.payments is not None
        self.house.parts = replace(self.parts, policy=replace(self.parts.policy, **policy))
        self.house.payments.state.parts = self.house.parts

    async def open(self) -> int:
        """Fill our own wallets, start the scanner, and return a user."""
        gateway = self.gateway()
        await self.node.admin("faucet", address=gateway.fuel_address, trx="100000")
        await self.node.admin("faucet", address=gateway.main_address, trx="1", usdt="1")
        await self.node.settle()
        await scan_chain(self.parts, gateway)
        return await self.house.user(1, "Alice")

    async def ask(self, user: int, amount: str = "30", gateway_id: str = "tron_usdt") -> dict[str, Any]:
        """Create a payment."""
        currency = self.gateway(gateway_id).info.currency
        body = {"gateway_id": gateway_id, "user_id": user, "amount": amount, "currency": currency}
        answer = await self.house.call("payments", "POST", "/payment", body)
        assert answer.status_code == 200, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def read(self, payment: dict[str, Any]) -> dict[str, Any]:
        """Read a payment anew."""
        answer = await self.house.call("payments", "GET", f"/payment/{payment['payment_id']}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def arrived(self, payment: dict[str, Any]) -> list[tuple[str, str, str]]:
        """Return the state, amount and currency of what arrived, all of which has to be credited."""
        arrivals = (await self.read(payment))["arrivals"]
        assert all(a["credited"] for a in arrivals), arrivals
        return [(a["state"], a["amount"], a["currency"]) for a in arrivals]

    async def stake(self, sun: int) -> None:
        """Stake TRX of the fuel wallet for energy."""
        gateway = self.gateway()

        async def note(_: Connection, __: Signed) -> None:
            """Nothing has to be noted."""

        await send(self.parts, gateway, Purpose("stake", gateway.fuel_address), Stake(sun), note)
        await self.scan()

    async def lent(self, address: str) -> int:
        """Return how much staked TRX the fuel wallet lends to an address."""
        parties = {"fromAddress": self.gateway().fuel_address, "toAddress": address}
        found = await self.node.ask("wallet/getdelegatedresourcev2", **parties, visible=True)
        return sum(loan["frozen_balance_for_energy"] for loan in found.get("delegatedResource", []))

    async def scan(self) -> None:
        """Make what waits solid, and scan it."""
        await self.node.settle()
        await scan_chain(self.parts, self.gateway())

    async def credit(self) -> None:
        """Make what waits solid, scan it, and credit it."""
        await self.scan()
        await self.house.deliver(1)

    async def step(self) -> None:
        """Let every sweep take a step, whatever pause it is in, and make it solid."""
        await self.rows("UPDATE sweep SET due_at = now() WHERE due_at > now()")
        await check_payments(self.parts, AT_ONCE)
        await self.scan()

    async def sweep(self) -> None:
        """Go on until every sweep is done and gave back what it was lent, then finish payments."""
        for _ in range(MOST_PASSES):
            await self.step()
            if not await self.rows("SELECT 1 FROM sweep WHERE step <> 'swept' OR lent_sun > 0"):
                break
        else:
            raise AssertionError(await self.rows("SELECT currency, step, tries, last_error FROM sweep"))
        await check_payments(self.parts, AT_ONCE)

    async def rows(self, query: str) -> list[Any]:
        """Ask payments' database."""
        return await rows(self.house, query)

    async def chain_balance(self, address: str, gateway_id: str = "tron_usdt") -> int:
        """Return the solid balance of a gateway's asset."""
        gateway = self.gateway(gateway_id)
        return await gateway.chain.balance(gateway.asset, address)

    async def house_books(self, currency: str = "TRX") -> dict[str, int]:
        """Return our own accounts in the ledger, in smallest units."""
        connection = await asyncpg.connect(self.house.databases.owner_url("accounts"))
        try:
            rows = await connection.fetch(
                "SELECT a.kind, sum(j.amount)::bigint FROM adjustment j JOIN account a ON a.id = j.account_id"
                " WHERE a.kind IN ('fees', 'operator') AND a.currency = $1 GROUP BY 1",
                currency,
            )
        finally:
            await connection.close()
        return {row[0]: row[1] for row in rows}

    async def prove(self) -> None:
        """Assert that the books agree with the ledger and the chain, that nothing is in flight, and the ledger's own."""
        await self.scan()
        await post_bookings(self.parts)
        ours = await check_invariants(self.parts)
        assert ours["ok"], ours
        theirs = await ledger_check.check_invariants(self.house.accounts_db)
        assert theirs["ok"], theirs
        assert await self.rows("SELECT key FROM booking WHERE applied_at IS NULL") == []
        assert await self.rows("SELECT txid FROM transfer WHERE class = 'unexplained'") == []


def parts_of(house: House) -> Payments:
    """Return the parts of payments."""
    assert house.parts is not None
    return house.parts


def gateway_of(house: House, gateway_id: str = "tron_usdt") -> Gateway:
    """Return a gateway."""
    return parts_of(house).gateways[gateway_id]


async def rows(house: House, query: str) -> list[Any]:
    """Ask payments' database."""
    connection = await asyncpg.connect(house.databases.owner_url("payments"))
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


def wallet(payment: dict[str, Any]) -> str:
    """Return the address that a payment is paid to."""
    return str(payment["gateway_data"]["address"])


@asynccontextmanager
async def usual_chain(node: SandboxNode) -> AsyncIterator[None]:
    """Give the token and the fees of a node back as they were, whatever a test does to them."""
    fees = Parameters()
    try:
        yield
    finally:
        await node.admin("faults", clear=True)
        for token in (USDT, FAKE):
            await node.admin("token", token=token, pause=False, fee_basis_points=0, maximum_fee=0)
        await node.admin("parameters", **{name: getattr(fees, field) for name, field in SETTABLE.items()})
