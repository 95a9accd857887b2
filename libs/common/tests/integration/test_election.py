"""Of several processes one works, and another goes on when it is gone or loses its session."""

import asyncio

import asyncpg

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
