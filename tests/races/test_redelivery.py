"""An event that is delivered again, at once or long after, has its effect once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from nats import connect
from nats.js.api import StreamConfig
from nats.js.client import JetStreamContext

from accounts.use_cases.credit_payments import credit_payments
from common.bus import Bus, Handler, Received
from deals.use_cases.fund_waiting_deals import request_funding
from payments.use_cases.record_applied import record_applied
from support.house import USDT, received
from support.paying import Till
from support.racing import PRICE
from support.rounds import Round, play, sizes
from support.sources import Broker
from support.waiting import eventually

TIMES = 5
STREAM = "RACES"
DEDUPE_WINDOW_S = 0.2
TOLD = 3
"""Published, published again once the window had passed, and published under another id."""


def handlers(till: Till) -> dict[str, tuple[str, Handler]]:
    """Return, by its durable's name, what each consumer of money follows and does."""
    house = till.stage.house
    return {
        "accounts-credit": ("payment.received", partial(credit_payments, house.accounts_db, house.ledger)),
        "deals-funding": ("balance.credited", partial(request_funding, house.money)),
        "payments-applied": ("balance.credited", partial(record_applied, till.parts)),
    }


async def effects(till: Till, user: int) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the three consumers have done for a user."""
    rows = till.stage.rows
    owner = f"user:{user}"
    return {
        "adjustments": await rows(
            "accounts",
            "SELECT j.amount::text, j.seq FROM adjustment j JOIN account a ON a.id = j.account_id"
            " WHERE a.owner = :owner ORDER BY j.seq",
            owner=owner,
        ),
        "told": await rows(
            "accounts",
            "SELECT subject, id FROM outbox WHERE envelope ->> 'aggregate' = :name ORDER BY id",
            name=f"{owner}:USDT",
        ),
        "passes": await rows("deals", "SELECT wanted FROM funding WHERE customer_id = :user", user=user),
        "applied": await rows(
            "payments",
            "SELECT t.txid, t.applied_at FROM transfer t JOIN wallet w ON w.id = t.wallet_id"
            " WHERE w.user_id = :user AND t.class = 'deposit'",
            user=user,
        ),
    }


async def assert_once(till: Till, user: int, asked: int) -> None:
    """Check that a deposit was credited, told, noted and acted upon once.

    Args:
        asked: how many passes had been asked for before it.
    """
    found = await effects(till, user)
    assert found["adjustments"] == [(str(PRICE * USDT), 1)]
    assert [subject for subject, _ in found["told"]] == ["balance.credited"]
    assert found["passes"] == [(asked + 1,)]
    assert [applied_at is not None for _, applied_at in found["applied"]] == [True]


async def deliver(till: Till, round_: Round, name: str, envelope: dict[str, Any]) -> None:
    """Deliver an event to a consumer several times at once, and then one after the other."""
    handler = handlers(till)[name][1]
    await round_.race(*[partial(handler, [received(envelope)])] * TIMES)
    for _ in range(TIMES):
        await handler([received(envelope)])


@sizes(4)
async def test_an_event_delivered_ten_times_has_its_effect_once(till: Till, rounds: int) -> None:
    stage = till.stage

    async def one(round_: Round) -> None:
        case = await stage.case()
        assert await stage.act(case, "confirm") == 200
        await stage.fund_when_asked()  # the pass that the rejection asked for finds nothing
        ((asked,),) = (await effects(till, case.customer))["passes"]
        await till.paid(case.customer, PRICE)
        await till.settle()
        (receipt,) = await till.receipts(case.customer)
        await deliver(till, round_, "accounts-credit", receipt)
        (credit,) = await stage.told("accounts", f"user:{case.customer}:USDT")
        await deliver(till, round_, "payments-applied", credit)
        await deliver(till, round_, "deals-funding", credit)
        await assert_once(till, case.customer, asked)
        await stage.fund_when_asked()
        assert await stage.status(case) == "confirmed"

    await play(rounds, one, at_once=1)
    await stage.prove()


@contextlib.asynccontextmanager
async def consuming(till: Till, bus: Bus, counts: Counter[tuple[str, UUID]]) -> AsyncIterator[None]:
    """Run the three consumers on real streams, counting what each is handed."""

    async def counted(name: str, handler: Handler, events: Sequence[Received]) -> None:
        await handler(events)
        counts.update((name, event.id) for event in events)

    tasks = [
        asyncio.create_task(bus.consume(STREAM, name, [subject], partial(counted, name, handler)))
        for name, (subject, handler) in handlers(till).items()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def tell_again(stream: JetStreamContext, envelope: dict[str, Any]) -> None:
    """Publish an event, again until the broker has forgotten its id, and once more under another id."""
    payload, id_ = orjson.dumps(envelope), envelope["id"]

    async def publish(message_id: str) -> bool:
        ack = await stream.publish(envelope["type"], payload, headers={"Nats-Msg-Id": message_id})
        return not ack.duplicate

    assert await publish(id_)
    await eventually(partial(publish, id_), within_s=10)
    assert await publish(f"{id_}-again")


@sizes(2)
async def test_an_event_that_nats_tells_after_its_dedupe_window_has_its_effect_once(
    till: Till, nats: Broker, rounds: int
) -> None:
    stage, counts = till.stage, Counter[tuple[str, UUID]]()
    bus = await Bus.connect(nats.url, "redelivery")
    client = await connect(nats.url)
    stream = client.jetstream(timeout=5)
    config = StreamConfig(name=STREAM, subjects=["payment.*", "balance.*"], duplicate_window=DEDUPE_WINDOW_S)
    await stream.add_stream(config)

    async def handed(name: str, envelope: dict[str, Any]) -> int:
        return counts[name, UUID(envelope["id"])]

    async def one(_: Round) -> None:
        case = await stage.case()
        assert await stage.act(case, "confirm") == 200
        await stage.fund_when_asked()
        ((asked,),) = (await effects(till, case.customer))["passes"]
        await till.paid(case.customer, PRICE)
        await till.settle()
        (receipt,) = await till.receipts(case.customer)
        await tell_again(stream, receipt)
        await eventually(partial(handed, "accounts-credit", receipt), lambda times: times == TOLD)
        (credit,) = await stage.told("accounts", f"user:{case.customer}:USDT")
        await tell_again(stream, credit)
        for name in ("deals-funding", "payments-applied"):
            await eventually(partial(handed, name, credit), lambda times: times == TOLD)
        await assert_once(till, case.customer, asked)

    try:
        async with consuming(till, bus, counts):
            await play(rounds, one, at_once=1)
        await stage.work()
        await stage.prove()
    finally:
        await stream.delete_stream(STREAM)
        await client.close()
        await bus.close()
