"""Store messages: those that wait are gathered into one transaction, then broadcast in their order.

One batch at a time per process, so the order of broadcasts is the order of commits.
"""

from collections.abc import Awaitable, Callable, Sequence

from chat.db import messages
from chat.domain import events
from chat.domain.model import Draft, Message
from common import outbox
from common.clock import Clock
from common.crash import crash_point
from common.db import Database, away
from common.errors import Unavailable
from common.gather import Gatherer
from common.logging import get_logger, report

log = get_logger()

MAX_BATCH = 200

Broadcast = Callable[[Message], Awaitable[None]]


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
        self._gatherer = Gatherer(self._store, MAX_BATCH)

    async def store(self, draft: Draft) -> Message:
        """Store a message; return it once it is committed and was broadcast.

        Raises:
            Unavailable: when the database failed; whether it was stored is not known.
        """
        (message,) = await self._gatherer.ask([draft])
        return message

    async def _store(self, drafts: Sequence[Draft]) -> list[Message]:
        try:
            stored = await self._store_batch(drafts)
        except Exception as error:
            log.error("chat.batch_failed", messages=len(drafts), error=repr(error))
            if away(error):
                raise Unavailable("the message may not be stored") from error
            raise
        crash_point("messages.stored")
        self._told()
        for message in stored:
            await self._tell(message)
        return stored

    async def _tell(self, message: Message) -> None:
        """Broadcast a committed message; a failure is told and leaves a gap, which the next broadcast fills."""
        try:
            await self._broadcast(message)
        except Exception as error:
            log.error("chat.broadcast_failed", chat_id=str(message.chat_id), seq=message.seq, error=repr(error))
            report(error)

    async def _store_batch(self, drafts: Sequence[Draft]) -> list[Message]:
        async with self._database.transaction() as connection:
            stored = await messages.insert(connection, drafts, self._clock.now())
            told = [events.message_stored(d, m) for d, m in zip(drafts, stored, strict=True)]
            await outbox.append(connection, told)
        return stored
