"""Broadcasts: what may wait to be sent is bounded, and nobody believes that it is sent when it is not."""

import asyncio
import contextlib
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


async def ended(task: "asyncio.Task[None]") -> None:
    """Tell a task to end, and see it end."""
    task.cancel()
    await asyncio.wait({task}, timeout=20)
    assert task.cancelled()


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

    assert await eventually(taken)
    await ended(sending)


async def test_it_ends_when_told_while_nothing_can_be_sent(
    broadcasts: Broadcasts, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = asyncio.Event()

    async def full(subject: str, payload: bytes) -> None:
        sending.set()
        with contextlib.suppress(asyncio.CancelledError):  # as nats-py does
            await asyncio.Event().wait()

    monkeypatch.setattr(broadcasts._client, "publish", full)
    assert broadcasts.tell("a", b"x")
    assert broadcasts.tell("a", b"y")
    running = asyncio.create_task(broadcasts.run())
    await sending.wait()
    await ended(running)


async def test_whoever_runs_it_learns_that_nothing_is_sent_any_more(
    broadcasts: Broadcasts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(subject: str, payload: bytes) -> None:
        raise RuntimeError(f"a mistake in {subject}")

    monkeypatch.setattr(broadcasts._client, "publish", broken)
    assert broadcasts.tell("a", b"x")
    with pytest.raises(RuntimeError, match="a mistake in a"):
        async with asyncio.timeout(20):
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
    await broadcasts.flush(20)
    assert b"SUB a " in written
    assert written.index(b"SUB a ") < written.rindex(b"PING")
