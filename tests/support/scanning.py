"""What tests of the scanner do again and again: they pay, mine, scan, and read what became of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import asyncpg

from payments.domain.ports import Gateway
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.check_payments import check_payments
from payments.use_cases.context import Payments
from payments.use_cases.scan_chain import MOST_BLOCKS, scan_chain
from support.chain import SandboxNode
from support.house import House, build_house
from support.servers import Databases

INFOS = "walletsolidity/gettransactioninfobyblocknum"
HEADER = "walletsolidity/getblock"
WHOLE = "walletsolidity/getblockbynum"
"""The paths that a scan asks for."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """A house whose scanner looks at the chain through `urls`, and the node that makes the chain."""

    house: House
    node: SandboxNode

    @property
    def parts(self) -> Payments:
        """What the use cases share."""
        assert self.house.parts is not None
        return self.house.parts

    @property
    def gateway(self) -> Gateway:
        """The gateway for USDT."""
        return self.parts.gateways["tron_usdt"]

    def change(self, **parts: Any) -> None:
        """Replace parts, for the API as well."""
        self.house.parts = replace(self.parts, **parts)
        assert self.house.payments is not None
        self.house.payments.state.parts = self.house.parts

    def change_policy(self, **fields: Any) -> None:
        """Replace settings of the policy."""
        self.change(policy=replace(self.parts.policy, **fields))

    async def begin(self) -> int:
        """Fill our own wallets, start the scan, and return a user."""
        await self.node.admin("faucet", address=self.gateway.fuel_address, trx="10000")
        await self.node.admin("faucet", address=self.gateway.main_address, trx="1", usdt="1")
        await self.settle()
        return await self.house.user(1, "Alice")

    async def ask(self, user: int, amount: Any = "30") -> dict[str, Any]:
        """Create a payment."""
        body = {"gateway_id": "tron_usdt", "user_id": user, "amount": amount, "currency": "USDT"}
        answer = await self.house.call("payments", "POST", "/payment", body)
        assert answer.status_code == 200, answer.text
        payment: dict[str, Any] = answer.json()
        return payment

    async def pay(self, payment: dict[str, Any], usdt: str = "30") -> None:
        """Pay on chain, in a block of its own."""
        await self.node.admin("faucet", address=payment["gateway_data"]["address"], usdt=usdt)

    async def read(self, payment: dict[str, Any]) -> dict[str, Any]:
        """Read a payment as a marketplace does."""
        answer = await self.house.call("payments", "GET", f"/payment/{payment['payment_id']}")
        found: dict[str, Any] = answer.json()
        return found

    async def scan(self) -> int:
        """Scan all that is solid; return how many blocks."""
        count = 0
        while (some := await scan_chain(self.parts, self.gateway)) == MOST_BLOCKS:
            count += some
        return count + some

    async def settle(self) -> None:
        """Make all that waits solid, and scan it."""
        await self.node.settle()
        await self.scan()

    async def watch(self) -> None:
        """Let the scanner look until it has looked for the head without news as well."""
        for _ in range(6):
            await self.scan()

    async def height(self) -> int:
        """Return the last block that was scanned."""
        return int((await self.rows("SELECT height FROM scan_cursor"))[0][0])

    async def balance(self, user: int) -> str:
        """Deliver what was told, twice each, and return the user's balance."""
        await self.house.deliver()
        return await self.house.balance(user)

    async def check(self) -> None:
        """Run check_payments."""
        await check_payments(self.parts, timedelta())

    async def violations(self) -> dict[str, Any]:
        """Return the invariants that do not hold, each with what breaks it."""
        found = (await check_invariants(self.parts))["violations"]
        return {name: items for name, items in found.items() if items}

    async def rows(self, query: str) -> list[Any]:
        """Ask payments' database."""
        connection = await asyncpg.connect(self.house.databases.owner_url("payments"))
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


@asynccontextmanager
async def scanner(databases: Databases, node: SandboxNode, *urls: str) -> AsyncIterator[Scanner]:
    """Put a house on nodes; on the node itself where none is named."""
    async with build_house(databases, ",".join(urls or (node.url,))) as house:
        yield Scanner(house, node)
