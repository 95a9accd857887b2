"""A house whose deals reach accounts over real TCP, through a proxy that can fail."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import uvicorn
from starlette.types import ASGIApp

import accounts.use_cases.check_invariants
import deals.use_cases.check_invariants
from common.internal import Connections, InternalClient
from deals.adapters.accounts import HttpAccounts
from deals.use_cases.fund_waiting_deals import fund_waiting_deals, request_all_funding
from deals.use_cases.settle_commands import settle_due_commands
from support.house import CALLERS, House
from support.proxy import FaultProxy, fault_proxy
from support.waiting import eventually

USUAL_S, PATIENCE_S = 5, 0.4
"""How long deals waits for an answer, and on a broken wire here: five seconds would make each test as long."""
MOST_ROUNDS = 5


class At:
    """A clock that stands still."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        """Return the moment."""
        return self._now


@dataclass(slots=True)
class WiredHouse:
    """The house and the wire between its deals and its accounts."""

    house: House
    proxy: FaultProxy
    client: InternalClient

    async def be_impatient(self, patience_s: float) -> None:
        """Let deals wait for an answer no longer than this."""
        await self.client.close()
        self.client._transport = Connections(patience_s)

    async def settle_later(self) -> None:
        """Let the worker run once every pause after a failure has passed, then fund what waits, until none does."""
        await self.be_impatient(USUAL_S)
        for number in range(1, MOST_ROUNDS + 1):
            later = replace(self.house.money, clock=At(datetime.now(UTC) + number * timedelta(minutes=10)))
            while await settle_due_commands(later):
                pass
            await request_all_funding(later.database)
            while await fund_waiting_deals(later):
                pass
            if not await self.pending():
                break

    async def pending(self) -> int:
        """Return how many commands are in flight."""
        async with self.house.money.database.transaction() as connection:
            query = "SELECT count(*) FROM money_command WHERE state = 'pending'"
            return int(await connection.value(sa.text(query)))

    async def check(self) -> None:
        """Prove that nothing is in flight and that both sides agree about every unit."""
        assert await self.pending() == 0
        ledger = await accounts.use_cases.check_invariants.check_invariants(self.house.accounts_db)
        assert ledger["ok"], ledger
        money = self.house.money
        held = await deals.use_cases.check_invariants.check_invariants(money.database, money.accounts)
        assert held["ok"], held


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the test decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an application on a loopback port, set as `common.runner.serve` sets it; yield the port."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        limit_concurrency=2000,
        server_header=False,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started or task.done()

    await eventually(started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def wire_up(house: House) -> AsyncIterator[WiredHouse]:
    """Serve accounts and let deals call it through a proxy."""
    async with served(house.accounts) as port, fault_proxy(port) as proxy:
        client = InternalClient(f"http://127.0.0.1:{proxy.port}", CALLERS["deals"])
        house.money = replace(house.money, accounts=HttpAccounts(client))
        house.deals.state.money = house.money
        try:
            yield WiredHouse(house, proxy, client)
        finally:
            await client.close()
