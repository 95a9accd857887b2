"""The stage: PostgreSQL, a sandbox node that makes two blocks a second, and the services in one process."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import httpx

from payments.db import chain
from payments.domain.ports import Gateway
from payments.use_cases.check_payments import check_payments
from payments.use_cases.context import Payments
from payments.use_cases.scan_chain import MOST_BLOCKS, scan_chain
from support.chain import SOLID, SandboxNode
from support.counted_rows import rows_read
from support.house import House, build_house
from support.servers import Databases, databases, free_port, running, temporary_folder
from support.waiting import eventually

PAYERS = 45
"""Payments with a derived address: they are paid in turn."""

_FILL = """
    WITH w AS (
        INSERT INTO wallet (tenant_id, user_id, gateway_id, network, derivation_index, address)
        SELECT 1, n, 'tron_usdt', 'tron', 1000000 + n, 'T' || substr(md5(n::text) || md5((-n)::text), 1, 33)
          FROM generate_series($1::bigint, $2::bigint) AS n
        RETURNING id, user_id)
    INSERT INTO payment (tenant_id, user_id, gateway_id, wallet_id, currency, amount, created_height, created_at,
                         updated_at, expires_at)
    SELECT 1, user_id, 'tron_usdt', id, 'USDT', 30000000, 1, now(), now(),
           now() + interval '1 hour' + user_id * interval '1 second'
      FROM w
"""
_UNDONE = """
    SELECT (SELECT count(*) FROM payment WHERE status = 'waiting' AND received >= amount)
         + (SELECT count(*) FROM sweep WHERE step <> 'swept')
         + (SELECT count(*) FROM transfer WHERE class = 'deposit' AND applied_at IS NULL)
"""
# A table of thirty rows is read whole, since that is cheap: the counters shall tell what large ones cost.
_AS_LARGE = "ALTER DATABASE garant_payments SET enable_seqscan = off"


@dataclass(slots=True)
class Stage:
    """The house, its node, and the addresses that are paid to."""

    house: House
    node: SandboxNode
    waiting: int = 0
    payers: list[str] = field(default_factory=list)
    user: int = 0

    @property
    def parts(self) -> Payments:
        """What payments' use cases share."""
        assert self.house.parts is not None
        return self.house.parts

    @property
    def gateway(self) -> Gateway:
        """The gateway for USDT."""
        return self.parts.gateways["tron_usdt"]

    async def begin(self) -> None:
        """Fill our own wallets, place the cursor, and make the payments that are paid."""
        for address in (self.gateway.fuel_address, self.gateway.main_address):
            await self.node.admin("faucet", address=address, trx="1000000", usdt="1")
        async with self.owner() as connection:
            await connection.execute(_AS_LARGE)
        self.user = await self.house.user(1, "Payer")
        await self.scan()
        for _ in range(PAYERS):
            self.payers.append(await self.ask(self.user))
        self.waiting = PAYERS

    async def ask(self, user: int) -> str:
        """Create a payment; return its address."""
        body = {"gateway_id": "tron_usdt", "user_id": user, "amount": "30", "currency": "USDT"}
        answer = await self.house.call("payments", "POST", "/payment", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["gateway_data"]["address"])

    async def pay(self, first: int, count: int, usdt: str) -> None:
        """Pay to some of the payers, in one block."""
        some = [self.payers[(first + n) % PAYERS] for n in range(count)]
        await asyncio.gather(*(self.node.admin("faucet", address=a, usdt=usdt) for a in some))

    async def scan(self) -> int:
        """Scan what is solid; return how many ticks it took."""
        ticks = 1
        while await scan_chain(self.parts, self.gateway) == MOST_BLOCKS:
            ticks += 1
        return ticks

    async def scan_all(self) -> None:
        """Scan until all that is in a block now is solid and scanned."""
        head = await self.gateway.chain.head_height()

        async def scanned() -> bool:
            await self.scan()
            return await self.height() >= head

        await eventually(scanned, within_s=60)

    async def settle_payments(self) -> None:
        """Credit and finish all that was paid, so that a pass finds nothing to do."""

        async def settled() -> bool:
            await self.scan_all()
            await self.house.deliver(1)
            await check_payments(self.parts, timedelta())
            async with self.owner() as connection:
                return bool(await connection.fetchval(_UNDONE) == 0)

        await eventually(settled, within_s=60)
        async with self.owner() as connection:
            await connection.execute("VACUUM ANALYZE")

    async def height(self) -> int:
        """Return where the cursor is."""
        async with self.parts.database.transaction() as connection:
            cursor = await chain.cursor(connection, "tron")
        assert cursor is not None
        return cursor.height

    async def fill(self, waiting: int) -> None:
        """Let so many payments wait, most of them by SQL."""
        async with self.owner() as connection:
            if waiting > self.waiting:
                await connection.execute(_FILL, self.waiting + 1, waiting)
                self.waiting = waiting
            await connection.execute("VACUUM ANALYZE")

    async def rows_read(self) -> dict[str, int]:
        """Return how many rows were ever read of each table."""
        return await rows_read(self.house.databases, "payments", self.parts.database)

    async def calls(self) -> int:
        """Return how many calls the node has got, and count from zero again."""
        found: dict[str, Any] = await self.node.admin("requests", clear=True)
        return sum(count for path, count in found.items() if "wallet" in path)

    @contextlib.asynccontextmanager
    async def owner(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """Open a connection that may do anything."""
        connection = await asyncpg.connect(self.house.databases.owner_url("payments"), command_timeout=120)
        try:
            yield connection
        finally:
            await connection.close()


@contextlib.contextmanager
def servers() -> Iterator[tuple[Databases, SandboxNode]]:
    """Start PostgreSQL and the node, and end them."""
    port = free_port()
    node = SandboxNode(f"http://127.0.0.1:{port}")

    async def answers() -> bool:
        try:
            async with httpx.AsyncClient(timeout=5) as client:
                return (await client.get(f"{node.url}/wallet/getnowblock")).status_code == 200
        except httpx.HTTPError:
            return False

    argv = [
        sys.executable,
        "-m",
        "tron_sandbox",
        "--port",
        str(port),
        "--block-interval",
        "0.5",
        "--solid",
        str(SOLID),
    ]
    with (
        temporary_folder() as folder,
        databases() as found,
        running(argv, answers, signal.SIGTERM, log=folder / "node.log"),
    ):
        yield found, node


@contextlib.asynccontextmanager
async def staged(found: Databases, node: SandboxNode) -> AsyncIterator[Stage]:
    """Put the services together on the servers."""
    async with build_house(found, node.url) as house:
        stage = Stage(house, node)
        await stage.begin()
        yield stage
