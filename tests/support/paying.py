"""Payments in a race: users who pay on the sandbox chain, and what became of it."""

import contextlib
from dataclasses import dataclass
from typing import Any

from accounts.use_cases.credit_payments import credit_payments
from payments.domain.errors import NodeLied
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments
from payments.use_cases.scan_chain import scan_chain
from support.chain import SandboxNode
from support.house import received
from support.racing import Stage

FUEL_TRX = "1000000"


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment that somebody paid on chain, not scanned yet."""

    user: int
    payment_id: int
    address: str


@dataclass(frozen=True, slots=True)
class Till:
    """The stage, its payments and the chain."""

    stage: Stage
    node: SandboxNode
    parts: Payments
    gateway: Gateway

    async def paid(self, user: int, units: int) -> Paid:
        """Create a payment and pay it; the block is not solid yet."""
        body = {"gateway_id": "tron_usdt", "user_id": user, "amount": units, "currency": "USDT"}
        answer = await self.stage.house.call("payments", "POST", "/payment", body)
        assert answer.status_code == 200, answer.text
        payment = answer.json()
        address = payment["gateway_data"]["address"]
        await self.node.admin("faucet", address=address, usdt=str(units))
        return Paid(user, payment["payment_id"], address)

    async def scan(self) -> None:
        """Scan what is solid; another scanner may be first, and the node seems to have lied then."""
        with contextlib.suppress(NodeLied):
            await scan_chain(self.parts, self.gateway)

    async def settle(self) -> None:
        """Make all that waits solid, and scan it."""
        await self.node.settle()
        await self.scan()

    async def receipts(self, user: int) -> list[dict[str, Any]]:
        """Return the `payment.received` events of a user."""
        query = """
            SELECT envelope ->> 'aggregate' FROM outbox
             WHERE subject = 'payment.received' AND (envelope -> 'data' ->> 'user_id') = :user
        """
        names = [row[0] for row in await self.stage.rows("payments", query, user=str(user))]
        return [envelope for name in names for envelope in await self.stage.told("payments", name)]

    async def hear_receipts(self, user: int) -> None:
        """Hand every `payment.received` of a user to accounts' consumer."""
        house = self.stage.house
        for envelope in await self.receipts(user):
            await credit_payments(house.accounts_db, house.ledger, [received(envelope)])


async def open_till(stage: Stage, node: SandboxNode) -> Till:
    """Fill the fuel wallet and place the scanner at the chain's head."""
    parts = stage.house.parts
    assert parts is not None
    gateway = parts.gateways["tron_usdt"]
    await node.admin("faucet", address=gateway.fuel_address, trx=FUEL_TRX)
    await node.admin("faucet", address=gateway.main_address, trx="1", usdt="1")
    await node.settle()
    await scan_chain(parts, gateway)
    return Till(stage, node, parts, gateway)
