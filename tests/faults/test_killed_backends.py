"""Backends are killed under posters of overlapping batches: no deadlock, one outcome a key, no unit lost."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest
import sqlalchemy as sa

from accounts.domain.ledger import Leg, Operation, Outcome
from accounts.use_cases.check_invariants import check_invariants
from accounts.use_cases.post_operations import Ledger
from accounts.use_cases.void_operation import void_operation
from common.db import FAILURES, Database
from common.errors import Unavailable
from support.house import House, nothing
from support.servers import Databases
from support.waiting import eventually

POSTERS = 10
LEDGERS = 4
USERS = 12
GIVEN = 1_000
NAME = "storm"
TRIES = 200
ANSWERS_PER_KILL = 2


@dataclass(slots=True)
class Storm:
    """The posters' ledgers, as of several processes, and every outcome that a caller was told."""

    ledgers: list[Ledger]
    databases: list[Database]
    rng: random.Random
    users: list[int]
    operations: dict[str, Operation] = field(default_factory=dict)
    told: dict[str, set[Outcome]] = field(default_factory=dict)
    retried: int = 0
    kills: int = 0
    answered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """Grows by each batch that got its answer: a kill waits for some, so a slow machine starves nobody."""

    def batch(self, number: int) -> list[Operation]:
        """Return deposits, holds and releases over few accounts, in any order; some keys come from others."""
        fresh = [self.operation(f"{number}:{n}") for n in range(self.rng.randint(1, 8))]
        known = self.rng.sample(list(self.operations.values()), min(3, len(self.operations)))
        self.operations.update({o.key: o for o in fresh})
        mixed = [*fresh, *known]
        self.rng.shuffle(mixed)
        return mixed

    def operation(self, name: str) -> Operation:
        """Return one operation: it may be refused, since deals are few and are held once."""
        user, deal = f"user:{self.rng.choice(self.users)}", f"deal:{self.rng.randint(1, 400)}"
        kind, giver, taker, amount = self.rng.choice(
            [
                ("deposit", "external:tron_usdt", user, self.rng.randint(1, 50)),
                ("hold", user, deal, 10),
                ("hold", user, deal, 10),
                ("release", deal, user, 10),
            ]
        )
        legs = (Leg(giver, -amount), Leg(taker, amount))
        return Operation(f"{kind}:{name}", kind, 1, "USDT", legs)

    async def insist(self, ledger: Ledger, batch: list[Operation]) -> None:
        """Post until there is an answer, as callers do, and note every outcome."""
        for _ in range(TRIES):
            try:
                results = await ledger.post(batch)
            except Unavailable:
                self.retried += 1
                await asyncio.sleep(self.rng.uniform(0.01, 0.05))
                continue
            for result in results:
                self.told.setdefault(result.key, set()).add(result.outcome)
            self.answered.release()
            return
        raise AssertionError("the retries never end")

    async def void(self, database: Database) -> None:
        """Void a key that another poster may be posting."""
        key = self.rng.choice(list(self.operations))
        for _ in range(TRIES):
            try:
                self.told.setdefault(key, set()).add((await void_operation(database, key)).outcome)
                return
            except FAILURES:
                self.retried += 1
        raise AssertionError("the retries never end")

    async def post(self, poster: int, batches: int) -> None:
        """Be one of the posters; now and then a batch goes to two ledgers at once."""
        for number in range(batches):
            batch = self.batch(poster * 10_000 + number)
            copies = self.rng.sample(self.ledgers, self.rng.choice((1, 1, 2)))
            await asyncio.gather(*(self.insist(ledger, batch) for ledger in copies))
            if self.rng.random() < 0.2:
                await self.void(self.rng.choice(self.databases))

    async def kill(self, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Kill a backend of ours after every other answer until cancelled, one that works where there is one."""
        while True:
            for _ in range(ANSWERS_PER_KILL):
                await self.answered.acquire()
            self.kills += await owner.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
                " WHERE application_name = $1 ORDER BY state = 'idle', random() LIMIT 1) b",
                NAME,
            )


@asynccontextmanager
async def storm_over(house: House, rng: random.Random) -> AsyncIterator[Storm]:
    """Open the ledgers of several processes over the house's accounts."""
    users = [await house.user(number + 1) for number in range(USERS)]
    for user in users:
        await house.credit(user, GIVEN, f"tron:{user}:0")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(hasty_deadlocks(house.databases))
        databases = [Database(house.databases.url("accounts"), NAME, 3) for _ in range(LEDGERS)]
        for database in databases:
            stack.push_async_callback(database.close)
        yield Storm([Ledger(database, nothing) for database in databases], databases, rng, users)


@asynccontextmanager
async def hasty_deadlocks(databases: Databases) -> AsyncIterator[None]:
    """Let PostgreSQL look for deadlocks at once: a kill would otherwise end most of them before they are seen."""
    connection = await asyncpg.connect(databases.owner_url("accounts"), timeout=5)
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '5ms'")
    try:
        yield
    finally:
        await connection.execute(f"ALTER DATABASE {name} RESET deadlock_timeout")
        await connection.close()


async def deadlocks(databases: Databases) -> int:
    """Return how many deadlocks the ledger's database has ever seen."""
    connection = await asyncpg.connect(databases.owner_url("accounts"), timeout=5)
    try:
        return int(
            await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        )
    finally:
        await connection.close()


async def no_backends(databases: Databases) -> bool:
    """Tell whether all of the posters' backends have ended: only then is everything counted."""
    connection = await asyncpg.connect(databases.owner_url("accounts"), timeout=5)
    try:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        return bool(await connection.fetchval(query, NAME) == 0)
    finally:
        await connection.close()


async def check_storm(storm: Storm, house: House) -> None:
    """Hold the ledger against what the callers were told and against a plain model of the balances."""
    final = await stored_outcomes(house)
    mismatched = {key: told for key, told in storm.told.items() if told != {final.get(key, Outcome.INVALID)}}
    assert not mismatched, mismatched
    model: Counter[str] = Counter({f"user:{user}": GIVEN for user in storm.users})
    for key, operation in storm.operations.items():
        if final.get(key) is Outcome.APPLIED:
            for leg in operation.legs:
                model[leg.owner] += leg.amount
    del model["external:tron_usdt"]
    assert await balances(house) == {owner: units for owner, units in model.items() if units}
    ledger = await check_invariants(house.accounts_db)
    assert ledger["ok"], ledger


async def stored_outcomes(house: House) -> dict[str, Outcome]:
    async with house.accounts_db.transaction() as connection:
        rows = await connection.execute(sa.text("SELECT key, outcome FROM operation"))
        return {row["key"]: Outcome(row["outcome"]) for row in rows}


async def balances(house: House) -> dict[str, int]:
    async with house.accounts_db.transaction() as connection:
        rows = await connection.execute(
            sa.text("SELECT owner, balance::text AS units FROM account WHERE balance <> 0")
        )
        return {row["owner"]: int(row["units"]) for row in rows}


async def weather(storm: Storm, house: House, batches: int) -> None:
    """Let all posters post while backends are killed."""
    owner = await asyncpg.connect(house.databases.owner_url("accounts"), timeout=5)
    killing = asyncio.create_task(storm.kill(owner))
    try:
        async with asyncio.TaskGroup() as posters:
            for poster in range(POSTERS):
                posters.create_task(storm.post(poster + 1, batches))
        assert not killing.done(), killing
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        await owner.close()


async def storm_passes(house: House, rng: random.Random, batches: int) -> Storm:
    """Weather one storm and check what it left."""
    before = await deadlocks(house.databases)
    async with storm_over(house, rng) as storm:
        await weather(storm, house, batches)
    await eventually(lambda: no_backends(house.databases))
    assert await deadlocks(house.databases) == before
    await check_storm(storm, house)
    return storm


async def test_posters_whose_backends_are_killed_never_deadlock_and_lose_nothing(
    house: House, rng: random.Random
) -> None:
    storm = await storm_passes(house, rng, batches=12)

    assert storm.kills >= 10
    assert storm.retried >= 1
    assert Outcome.APPLIED in set.union(*storm.told.values())


@pytest.mark.deep
@pytest.mark.timeout(1800)
async def test_posters_are_killed_for_minutes(house: House, rng: random.Random) -> None:
    await storm_passes(house, rng, batches=100 * int(os.environ.get("GARANT_ROUNDS") or 10))
