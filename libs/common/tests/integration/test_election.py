"""Of several processes one works, and another goes on when it is gone or loses its session."""

import asyncio
import zlib

import asyncpg

from common import metrics
from common.election import Elected
from support.servers import Databases
from support.waiting import eventually


async def test_one_works_at_a_time_and_another_goes_on_when_it_ends(migrated: Databases) -> None:
    working = set[str]()

    def candidate(name: str) -> "asyncio.Task[None]":
        async def work() -> None:
            working.add(name)
            try:
                await asyncio.Event().wait()
            finally:
                working.discard(name)

        return asyncio.create_task(Elected(migrated.url("accounts"), "test-jobs", [work]).run())

    async def chosen() -> list[str]:
        assert len(working) <= 1
        return sorted(working)

    first = candidate("first")
    await eventually(chosen, lambda names: names == ["first"])
    second = candidate("second")
    await asyncio.sleep(1.5)  # it asks each second
    assert await chosen() == ["first"]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await eventually(chosen, lambda names: names == ["second"])
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_work_ends_with_the_session_and_begins_again_with_another(migrated: Databases) -> None:
    begun = list[int]()

    async def work() -> None:
        begun.append(1)
        await asyncio.Event().wait()

    async def times() -> int:
        return len(begun)

    task = asyncio.create_task(Elected(migrated.url("accounts"), "test-lost", [work]).run())
    await eventually(times, lambda count: count == 1)
    owner = await asyncpg.connect(migrated.owner_url("accounts"), timeout=5)
    try:
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-lost'"
        )
        await eventually(times, lambda count: count == 2, within_s=20)
    finally:
        await owner.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_the_elected_one_told_is_forgotten_when_another_is_chosen(migrated: Databases) -> None:
    async def work() -> None:
        metrics.VIOLATIONS.labels("test").set(1)
        metrics.OUTBOX_AGE.set(12)
        await asyncio.Event().wait()

    async def told() -> tuple[bool, bool]:
        text = metrics.render().decode()
        return 'violations{invariant="test"} 1.0' in text, "garant_outbox_age_seconds 12.0" in text

    task = asyncio.create_task(Elected(migrated.url("accounts"), "test-told", [work]).run())
    other = await asyncpg.connect(migrated.owner_url("accounts"), timeout=5)
    owner = await asyncpg.connect(migrated.owner_url("accounts"), timeout=5)
    try:
        await eventually(told, lambda found: found == (True, True))
        lock = zlib.crc32(b"elected:test-told")
        chosen = asyncio.create_task(other.execute("SELECT pg_advisory_lock($1)", lock))
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-told'"
        )
        await chosen
        await eventually(told, lambda found: found == (False, False))
    finally:
        await owner.close()
        await other.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
