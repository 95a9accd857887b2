"""Store messages: those that wait are gathered into one transaction, then broadcast in their order.

One writer per process, so the order of broadcasts is the order of commits. A client that leaves cancels nothing.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from chat.db import messages
from chat.domain import events
from chat.domain.model import Draft, Message
from common import outbox
from common.clock import Clock
from common.crash import crash_point
from common.db import FAILURES, Database
from common.errors import Unavailable
from common.logging import get_logger, report

log = get_logger()

MAX_BATCH = 200
MAX_WAITING = 10_000

Broadcast = Callable[[Message], Awaitable[None]]


@dataclass(slots=True)
class _Waiting:
    draft: Draft
    answer: "asyncio.Future[Message]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Writer:
    """Stores messages and hands each to `broadcast` once it is committed.

    Args:
        told: called when events were stored.
    """

    def __init__(self, database: Database, clock: Clock, broadcast: Broadcast, told: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._broadcast = broadcast
        self._told = told
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def store(self, draft: Draft) -> Message:
        """Store a message; return it once it is committed and was broadcast.

        Raises:
            Unavailable: when the database failed; whether it was stored is not known.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("too many messages wait")
        waiting = _Waiting(draft)
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        return await asyncio.shield(waiting.answer)

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
            try:
                stored = await self._store_batch([waiting.draft for waiting in batch])
            except Exception as error:
                _fail(batch, error)
                continue
            crash_point("messages.stored")
            self._told()
            for waiting, message in zip(batch, stored, strict=True):
                await self._tell(message)
                if not waiting.answer.done():
                    waiting.answer.set_result(message)

    async def _tell(self, message: Message) -> None:
        """Broadcast a committed message; a failure is told and leaves a gap, which the next broadcast fills."""
        try:
            await self._broadcast(message)
        except Exception as error:
            log.error("chat.broadcast_failed", chat_id=str(message.chat_id), seq=message.seq, error=repr(error))
            report(error)

    async def _store_batch(self, drafts: list[Draft]) -> list[Message]:
        async with self._database.transaction() as connection:
            stored = await messages.insert(connection, drafts, self._clock.now())
            told = [events.message_stored(d.chat, m) for d, m in zip(drafts, stored, strict=True)]
            await outbox.append(connection, told)
        return stored


def _fail(batch: list[_Waiting], error: Exception) -> None:
    log.error("chat.batch_failed", messages=len(batch), error=repr(error))
    answer: Exception = Unavailable("the message may not be stored") if isinstance(error, FAILURES) else error
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(answer)
