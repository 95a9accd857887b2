"""Gather what many callers ask for at the same time, and do it as one batch.

While one batch is under way the next gathers: who is alone is served at once, and the busier it is, the more each
batch holds. A batch that takes too long is not waited for. A caller who leaves never cancels a batch.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from common.errors import Unavailable

MAX_WAITING = 10_000

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Waiting(Generic[Asked, Answer]):
    asked: Sequence[Asked]
    answer: "asyncio.Future[list[Answer]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Nobody but the worker has it: a caller who leaves cancels a shield."""


class Gatherer(Generic[Asked, Answer]):
    """Calls `work` with what was gathered.

    Args:
        work: does a batch, and returns an answer for each, in their order; what it raises, each caller gets.
        most: the size that a batch is not gathered beyond; who asks for more is a batch alone.
        at_once: how many batches may be under way, where some take too long.
        patience_s: how long the next batch waits for the one before it.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]],
        most: int,
        at_once: int = 1,
        patience_s: float = 1.0,
    ) -> None:
        self._work = work
        self._most = most
        self._at_once = at_once
        self._patience_s = patience_s
        self._waiting: deque[_Waiting[Asked, Answer]] = deque()
        self._under_way = 0
        self._late = 0
        self._workers: set[asyncio.Task[None]] = set()

    async def ask(self, asked: Sequence[Asked]) -> list[Answer]:
        """Have these done, in one batch, and return their answers.

        Raises:
            Unavailable: when too many wait already; nothing was done.
        """
        if not asked:
            return []
        return await asyncio.shield(self.submit(asked))

    def submit(self, asked: Sequence[Asked]) -> "asyncio.Future[list[Answer]]":
        """Have these done after what was submitted before; return what their answers come in, not to be cancelled.

        Raises:
            Unavailable: when too many wait already; nothing was done.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("too many wait already; try the same again")
        waiting = _Waiting[Asked, Answer](asked)
        self._waiting.append(waiting)
        self._start()
        return waiting.answer

    def _start(self) -> None:
        """Let somebody do what waits, unless a batch is under way that will soon be done."""
        if self._waiting and self._under_way == self._late < self._at_once:
            self._under_way += 1
            # In a context of its own: it serves many, and must not go by the name of the one who woke it.
            worker = asyncio.create_task(self._do_all(), context=contextvars.Context())
            self._workers.add(worker)  # the loop itself holds tasks weakly
            worker.add_done_callback(self._workers.discard)

    async def _do_all(self) -> None:
        try:
            while self._waiting and self._under_way == self._late + 1:
                batch = self._next()
                async with self._noticed_when_late():
                    await self._do(batch)
        finally:  # nothing was awaited since the queue was looked at: nobody is left waiting
            self._under_way -= 1

    @asynccontextmanager
    async def _noticed_when_late(self) -> AsyncIterator[None]:
        """Let the next batch go its own way once this one takes too long."""
        late = False

        def notice() -> None:
            nonlocal late
            late = True
            self._late += 1
            self._start()

        timer = asyncio.get_running_loop().call_later(self._patience_s, notice)
        try:
            yield
        finally:
            timer.cancel()
            self._late -= late

    def _next(self) -> list[_Waiting[Asked, Answer]]:
        batch = [self._waiting.popleft()]
        size = len(batch[0].asked)
        while self._waiting and size + len(self._waiting[0].asked) <= self._most:
            batch.append(self._waiting.popleft())
            size += len(batch[-1].asked)
        return batch

    async def _do(self, batch: list[_Waiting[Asked, Answer]]) -> None:
        asked = [one for waiting in batch for one in waiting.asked]
        try:
            answers = list(await self._work(asked))
            if len(answers) != len(asked):
                raise RuntimeError(f"{len(asked)} were asked, {len(answers)} answered")
        except BaseException as error:
            for waiting in batch:
                waiting.answer.set_exception(_as_answer(error))
            if not isinstance(error, Exception):
                raise
        else:
            start = 0
            for waiting in batch:
                end = start + len(waiting.asked)
                waiting.answer.set_result(answers[start:end])
                start = end


def _as_answer(error: BaseException) -> Exception:
    """Return what callers hear; they must not take the end of the work for the end of themselves."""
    return error if isinstance(error, Exception) else Unavailable("the work was ended; ask again")
