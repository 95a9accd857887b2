"""Store messages: those that wait are gathered into one transaction, then broadcast in their order.

One batch at a time per process, so the order of broadcasts is the order of commits. A message that comes again
under its client's name is answered as the first time: nothing is stored, told or broadcast.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from chat.db import messages
from chat.domain import events
from chat.domain.batch import number
from chat.domain.model import READ_ONLY_AFTER, Draft, Message
from common import outbox
from common.clock import Clock
from common.crash import crash_point
from common.db import Database, away
from common.errors import ServiceError, Unavailable
from common.gather import Gatherer
from common.logging import get_logger, report

log = get_logger()

MAX_BATCH = 200

Broadcast = Callable[[Message], Awaitable[None]]


class Writer:
    """Stores messages and hands each to `broadcast` once it is committed.

    Args:
        told: called when events were stored.
        read_only_after: how long after the end of its deal a chat is still written in.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        broadcast: Broadcast,
        told: Callable[[], None],
        read_only_after: timedelta = READ_ONLY_AFTER,
    ) -> None:
        self._database = database
        self._clock = clock
        self._broadcast = broadcast
        self._told = told
        self._read_only_after = read_only_after
        self._gatherer = Gatherer(self._store, MAX_BATCH)

    async def store(self, draft: Draft) -> Message:
        """Store a message; return it once it is committed and was broadcast, or as it was stored before.

        Raises:
            ClientMsgIdTaken: when its author has sent another text under its name.
            ReadOnly: when the deal ended long ago.
            NoDispute: when it is an arbiter's, and no dispute is open.
            Unavailable: when the database failed; whether it was stored is not known.
        """
        (answer,) = await self._gatherer.ask([draft])
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    async def _store(self, drafts: Sequence[Draft]) -> list[Message | ServiceError]:
        try:
            stored, answers = await self._store_batch(drafts)
        except Exception as error:
            log.error("chat.batch_failed", messages=len(drafts), error=repr(error))
            if away(error):
                raise Unavailable("the message may not be stored") from error
            raise
        crash_point("messages.stored")
        self._told()
        for message in stored:
            await self._tell(message)
        return answers

    async def _tell(self, message: Message) -> None:
        """Broadcast a committed message; a failure is told and leaves a gap, which the next broadcast fills."""
        try:
            await self._broadcast(message)
        except Exception as error:
            log.error("chat.broadcast_failed", chat_id=str(message.chat_id), seq=message.seq, error=repr(error))
            report(error)

    async def _store_batch(self, drafts: Sequence[Draft]) -> tuple[list[Message], list[Message | ServiceError]]:
        """Store what is new in one transaction; return it, and the answer to each draft."""
        async with self._database.transaction() as connection:
            chats = await messages.lock_chats(connection, drafts)
            known = await messages.find_named(connection, drafts)
            now = self._clock.now()
            batch = number(drafts, chats, known, now, self._read_only_after)
            stored = await messages.insert(connection, batch, now)
            told = [events.message_stored(n.draft, m) for n, m in zip(batch.new, stored, strict=True)]
            await outbox.append(connection, told)
        return stored, batch.answered(stored)
