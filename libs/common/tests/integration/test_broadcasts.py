"""Broadcasts: what may wait to be sent is bounded."""

import asyncio

from common.broadcasts import MOST_WAITING_BYTES, Broadcasts
from support.sources import Broker
from support.waiting import eventually


async def test_what_waits_to_be_sent_is_bounded_in_bytes_and_goes_on_once_it_is_sent(nats: Broker) -> None:
    broadcasts = await Broadcasts.connect(nats.url, "test")
    payload = b"x" * 256_000
    try:
        told = 0
        while told < 1_000 and broadcasts.tell("a", payload):  # nobody sends yet
            told += 1
        assert told == MOST_WAITING_BYTES // len(payload)

        sending = asyncio.create_task(broadcasts.run())

        async def taken() -> bool:
            return broadcasts.tell("a", payload)

        assert await eventually(taken, within_s=5)
        sending.cancel()
    finally:
        await broadcasts.close()
