"""What many ask for at the same time is done as one batch, and each gets the answer to what they asked."""

import asyncio
from collections.abc import Sequence

import pytest

from common import gather
from common.errors import Unavailable
from common.gather import Gatherer
from common.ids import bind_request_id, request_id


class Work:
    """Doubles numbers, a batch at a time, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Queue[int]()
        self.go_on = asyncio.Event()

    async def __call__(self, asked: Sequence[int]) -> list[int]:
        self.batches.append(list(asked))
        self.begun.put_nowait(len(asked))
        await self.go_on.wait()
        if 13 in asked:
            raise ValueError("not thirteen")
        return [2 * number for number in asked]


def asking(gatherer: Gatherer[int, int], *groups: list[int]) -> "list[asyncio.Task[list[int]]]":
    return [asyncio.create_task(gatherer.ask(group)) for group in groups]


async def test_who_comes_while_a_batch_is_under_way_is_in_the_next() -> None:
    work = Work()
    tasks = asking(Gatherer(work, most=10), [1], [2, 3], [4])
    await work.begun.get()
    work.go_on.set()

    assert await asyncio.gather(*tasks) == [[2], [4, 6], [8]]
    assert work.batches in ([[1], [2, 3, 4]], [[1, 2, 3, 4]])


async def test_no_batch_is_gathered_beyond_its_size() -> None:
    work = Work()
    tasks = asking(Gatherer(work, most=3), [1, 2], [3, 4], [5], [6, 7, 8, 9])
    work.go_on.set()

    assert await asyncio.gather(*tasks) == [[2, 4], [6, 8], [10], [12, 14, 16, 18]]
    assert work.batches == [[1, 2], [3, 4, 5], [6, 7, 8, 9]]


async def test_a_batch_that_takes_too_long_is_not_waited_for_and_no_more_run_than_may() -> None:
    work = Work()
    gatherer = Gatherer(work, most=1, at_once=3, patience_s=0.01)
    tasks = asking(gatherer, [1], [2], [3], [4])
    for _ in range(3):
        await work.begun.get()
    await asyncio.sleep(0.05)  # time enough for a fourth, which must not begin
    at_once = list(work.batches)
    work.go_on.set()

    assert await asyncio.gather(*tasks) == [[2], [4], [6], [8]]
    assert at_once == [[1], [2], [3]]
    assert await asyncio.gather(*asking(gatherer, [5], [6])) == [[10], [12]]


async def test_who_leaves_cancels_nothing_and_a_failure_is_told_to_all_of_its_batch() -> None:
    work = Work()
    gatherer = Gatherer(work, most=2)
    leaving, other, failing, beside, after = asking(gatherer, [1], [2], [13], [4], [5])
    await work.begun.get()
    leaving.cancel()
    work.go_on.set()

    assert await other == [4]
    for task in (failing, beside):
        with pytest.raises(ValueError, match="thirteen"):
            await task
    assert await after == [10]
    assert leaving.cancelled()
    assert await gatherer.ask([6]) == [12]


async def test_who_comes_just_when_the_last_batch_ends_is_served() -> None:
    gatherer = Gatherer[int, int](Work(), most=1)

    async def answer_at_once(asked: Sequence[int]) -> list[int]:
        return list(asked)

    gatherer._work = answer_at_once

    async def ask_on_and_on() -> int:
        total = 0
        for number in range(200):
            (answer,) = await gatherer.ask([number])
            total += answer
        return total

    async with asyncio.timeout(10):
        totals = await asyncio.gather(*(ask_on_and_on() for _ in range(7)))
    assert set(totals) == {sum(range(200))}


async def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MAX_WAITING", 2)
    work = Work()
    gatherer = Gatherer(work, most=1)
    tasks = asking(gatherer, [1], [2])
    await work.begun.get()
    tasks += asking(gatherer, [3])
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await gatherer.ask([4])
    work.go_on.set()
    assert await asyncio.gather(*tasks) == [[2], [4], [6]]


async def test_a_batch_goes_by_nobodys_name() -> None:
    seen: list[str | None] = []

    async def work(asked: Sequence[int]) -> list[int]:
        seen.append(request_id())
        return list(asked)

    bind_request_id("mine")
    await Gatherer(work, most=1).ask([1])

    assert (seen, request_id()) == ([None], "mine")


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3]])
async def test_work_that_answers_too_few_or_too_many_is_told_to_all(answers: list[int]) -> None:
    async def work(_: Sequence[int]) -> list[int]:
        return answers

    gatherer = Gatherer(work, most=10)
    for task in asking(gatherer, [1], [2]):
        with pytest.raises(RuntimeError, match="were asked"):
            await task


async def test_work_that_is_ended_leaves_nobody_waiting() -> None:
    async def work(_: Sequence[int]) -> list[int]:
        raise asyncio.CancelledError

    with pytest.raises(Unavailable):
        await Gatherer(work, most=10).ask([1])
