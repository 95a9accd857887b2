"""Two relays on one outbox, one of them stopped while it holds the lock: the other takes over, nothing is doubled."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from nats import connect
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig
from nats.js.client import JetStreamContext

from common import outbox
from common.db import Database
from common.events import Event
from support.rounds import Round, play
from support.servers import Databases, running
from support.sources import Broker
from support.waiting import eventually

SCRIPT = Path(__file__).parents[1] / "support" / "relay_process.py"
SERVICE = "accounts"
STREAM, SUBJECT = "ACCOUNTS", "user.upserted"
BACKLOG = 300
TAKEN_OVER_WITHIN_S = 20
ASLEEP_FOR_S = 60
DEDUPE_WINDOW_S = 120
BUSY_WITHIN_S = 0.3


@dataclass(frozen=True, slots=True)
class Office:
    """An outbox, the stream that it is told on, and a place for the relays' words."""

    databases: Databases
    database: Database
    stream: JetStreamContext
    nats: Broker
    folder: Path

    async def append(self, count: int) -> None:
        """Store facts to be told."""
        now = datetime.now(UTC)
        events = [Event(SUBJECT, f"user:{n}", 1, 1, now, {"number": n}) for n in range(count)]
        async with self.database.transaction() as connection:
            await outbox.append(connection, events)

    async def unpublished(self) -> int:
        """Return how many rows are not marked as told."""
        owner = await asyncpg.connect(self.databases.owner_url(SERVICE), timeout=5)
        try:
            return int(await owner.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"))
        finally:
            await owner.close()

    async def messages(self) -> Counter[str]:
        """Return how often each message id is in the stream."""
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE)
        subscription = await self.stream.subscribe(SUBJECT, stream=STREAM, config=config)
        found = Counter[str]()
        held = (await self.stream.stream_info(STREAM)).state.messages
        while found.total() < held:
            message = await subscription.next_msg(timeout=5)
            found[message.headers["Nats-Msg-Id"]] += 1
        await subscription.unsubscribe()
        return found

    @contextmanager
    def relay(self, name: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a relay in a process of its own."""
        ready = self.folder / f"{name}.ready"
        environment = os.environ | {"DATABASE_URL": self.databases.url(SERVICE), "NATS_URL": self.nats.url}

        async def answers() -> bool:
            return ready.exists()

        argv = [sys.executable, str(SCRIPT), SERVICE, str(ready)]
        log = self.folder / f"{name}.log"
        with running(argv, answers, signal.SIGKILL, log=log, environment=environment) as process:
            yield process


@pytest.fixture
async def office(migrated: Databases, nats: Broker, tmp_path: Path) -> AsyncIterator[Office]:
    """An empty outbox and an empty stream."""
    await migrated.clean()
    database = Database(migrated.url(SERVICE), "relay-race", 2)
    client = await connect(nats.url)
    stream = client.jetstream(timeout=5)
    config = StreamConfig(name=STREAM, subjects=["user.*"], duplicate_window=DEDUPE_WINDOW_S)
    await stream.add_stream(config)
    try:
        yield Office(migrated, database, stream, nats, tmp_path)
    finally:
        await stream.delete_stream(STREAM)
        await client.close()
        await database.close()


@contextlib.contextmanager
def stopped(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Stop a process as a debugger or an overcommitted machine does; let it go on at the end."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("rounds", "asleep_s"),
    [
        (1, 0),
        pytest.param(10, 0, marks=[pytest.mark.deep, pytest.mark.timeout(600)]),
        pytest.param(1, ASLEEP_FOR_S, marks=[pytest.mark.deep, pytest.mark.timeout(240)]),
    ],
)
async def test_a_relay_stopped_while_it_holds_the_lock_is_replaced_and_doubles_nothing(
    office: Office, rounds: int, asleep_s: float
) -> None:
    async def one(round_: Round) -> None:
        with office.relay("first") as first:
            await office.append(1)
            await eventually(office.unpublished, lambda count: count == 0)  # it has the lock
            with office.relay("second"):
                await office.append(BACKLOG)
                await asyncio.sleep(round_.random.random() * BUSY_WITHIN_S)  # it is in the midst of it, or done
                with stopped(first):
                    asleep = asyncio.create_task(asyncio.sleep(asleep_s))
                    await office.append(BACKLOG)
                    await eventually(office.unpublished, lambda count: count == 0, TAKEN_OVER_WITHIN_S)
                    await asleep
                await office.append(BACKLOG)
                await eventually(office.unpublished, lambda count: count == 0)
        told = await office.messages()
        assert (len(told), set(told.values())) == (3 * BACKLOG + 1, {1})
        await office.stream.purge_stream(STREAM)

    await play(rounds, one, at_once=1)
