"""Stories of events that can't be read, and of events that are lost on their way."""

import secrets
from typing import Any

import asyncpg
import nats

from support.stories import DEPOSIT, Cast

CONSUMERS = ("accounts", "deals", "payments", "chat")
GARBLED = ("payment.received", "balance.credited", "deal.created")
"""What the consumers follow."""
TOLD_AGAIN_WITHIN_S = 300.0
"""The broker drops what it was told two minutes ago or less; a gap is looked for every 15 s, once it is 30 s old."""


async def _ask(cast: Cast, service: str, query: str, *arguments: object) -> list[Any]:
    """Return the first column of what a service's database answers."""
    url = cast.client.system.environment[f"{service.upper()}_DATABASE_URL"]
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return [row[0] for row in await connection.fetch(query, *arguments)]
    finally:
        await connection.close()


async def garble(cast: Cast) -> None:
    """Somebody publishes what nobody can read: every consumer sets it aside once, and goes on."""
    payload = f"no event {secrets.token_hex(8)}".encode()
    client = await nats.connect(cast.client.system.environment["NATS_URL"])
    try:
        cast.arm()
        for subject in GARBLED:
            await client.jetstream().publish(subject, payload)
    finally:
        await client.close()

    async def letters() -> list[int]:
        query = "SELECT id FROM dead_letter WHERE payload = $1"
        return [len(await _ask(cast, service, query, payload)) for service in CONSUMERS]

    await cast.client.until("the dead letters", letters, lambda counts: counts == [1] * len(CONSUMERS))


async def lose(cast: Cast) -> None:
    """What told of a credit and of a deal is lost on its way to everybody: it is told again, and counts once."""
    await cast.deal("created")
    await cast.pay(DEPOSIT)

    async def events() -> list[Any]:
        query = (
            "SELECT event_id FROM outbox WHERE subject = ANY($1) AND published_at IS NOT NULL"
            " AND $2 IN (envelope->'data'->>'user_id', envelope->'data'->>'customer_id')"
        )
        told = list(GARBLED), str(cast.customer)
        producers = ("accounts", "payments", "deals")
        return [event for s in producers for event in await _ask(cast, s, query, *told)]

    lost = await cast.client.until("the events", events, lambda found: len(found) == len(GARBLED))

    async def handled() -> list[int]:
        query = "SELECT event_id FROM inbox WHERE event_id = ANY($1)"
        return [len(await _ask(cast, service, query, lost)) for service in CONSUMERS]

    await cast.client.until("the events' handling", handled, lambda counts: counts == [1] * len(CONSUMERS))
    cast.arm()
    for service in CONSUMERS:
        await _ask(cast, service, "DELETE FROM inbox WHERE event_id = ANY($1) RETURNING event_id", lost)
    await cast.client.until(
        "the events to be told again",
        handled,
        lambda counts: counts == [1] * len(CONSUMERS),
        TOLD_AGAIN_WITHIN_S,
    )
