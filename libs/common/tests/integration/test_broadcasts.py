"""Broadcasts: what may wait to be sent is bounded, and nobody believes that it is sent when it is not."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from common.broadcasts import EACH_BYTES, MOST_WAITING_BYTES, Broadcasts
from support.sources import Broker
from support.waiting import eventually


@pytest.fixture
async def broadcasts(nats: Broker) -> AsyncIterator[Broadcasts]:
    found = await Broadcasts.connect(nats.url, "test")
    yield found
    await found.close()


async def test_what_waits_to_be_sent_is_bounded_in_bytes_and_goes_on_once_it_is_sent(
    broadcasts: Broadcasts,
) -> None:
    payload = b"x" * 256_000
    told = 0
    while told < 1_000 and broadcasts.tell("a", payload):  # nobody sends yet
        told += 1
    assert told == MOST_WAITING_BYTES // (EACH_BYTES + len(payload))

    sending = asyncio.create_task(broadcasts.run())

    async def taken() -> bool:
        return broadcasts.tell("a", payload)

    assert await eventually(taken, within_s=5)
    sending.cancel()


async def test_whoever_runs_it_learns_that_nothing_is_sent_any_more(
    broadcasts: Broadcasts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(subject: str, payload: bytes) -> None:
        raise RuntimeError(f"a mistake in {subject}")

    monkeypatch.setattr(broadcasts._client, "publish", broken)
    assert broadcasts.tell("a", b"x")
    with pytest.raises(RuntimeError, match="a mistake in a"):
        async with asyncio.timeout(5):
            await broadcasts.run()


async def test_what_was_followed_is_written_before_the_flush_that_confirms_it(
    broadcasts: Broadcasts, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, written = broadcasts._client._transport, bytearray()
    assert transport is not None
    write, writelines = transport.write, transport.writelines

    def noted(payload: bytes) -> None:
        written.extend(payload)
        write(payload)

    def all_noted(payloads: list[bytes]) -> None:
        written.extend(b"".join(payloads))
        writelines(payloads)

    monkeypatch.setattr(transport, "write", noted)
    monkeypatch.setattr(transport, "writelines", all_noted)
    await broadcasts.follow("a", lambda payload: None)
    await broadcasts.flush(2)
    assert b"SUB a " in written
    assert written.index(b"SUB a ") < written.rindex(b"PING")
