"""Store messages: those that wait are gathered into one transaction, then broadcast in their order.

One batch at a time per process, so the order of broadcasts is the order of commits. A message that comes again
under its client's name is answered as the first time: nothing is stored, told or broadcast.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from chat.db import messages
from chat.domain.batch import number
from chat.domain.model import READ_ONLY_AFTER, Draft, Message, Role
from common.clock import Clock
from common.crash import crash_point
from common.db import Database, away
from common.errors import ServiceError, Unavailable
from common.gather import Gatherer
from common.logging import get_logger, report

log = get_logger()

MAX_BATCH = 200

Broadcast = Callable[[Sequence[Message]], None]


class Writer:
    """Stores messages and hands them to `broadcast` once they are committed.

    Args:
        read_only_after: how long after the end of its deal a chat is still written in.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        broadcast: Broadcast,
        read_only_after: timedelta = READ_ONLY_AFTER,
    ) -> None:
        self._database = database
        self._clock = clock
        self._broadcast = broadcast
        self._read_only_after = read_only_after
        self._gatherer = Gatherer(self._store, MAX_BATCH)

    def submit(self, draft: Draft) -> "asyncio.Future[list[Message | ServiceError]]":
        """Have a message stored after those submitted before.

        The answer comes once it is committed and was broadcast: the message, as it was stored now or before, or
        why it was not:

        - ClientMsgIdTaken: its author has sent another text under its name
        - ReadOnly: the deal ended long ago
        - NoDispute: it is an arbiter's, and no dispute is open
        - ChatNotFound: the chat's row is gone, as where a database came back without its last moments

        It fails with Unavailable when the database failed; whether it was stored is not known then.

        Raises:
            Unavailable: when too many wait already; nothing was done.
        """
        return self._gatherer.submit([draft])

    async def _store(self, drafts: Sequence[Draft]) -> list[Message | ServiceError]:
        try:
            stored, answers = await self._store_batch(drafts)
        except Exception as error:
            log.error("chat.batch_failed", messages=len(drafts), error=repr(error))
            if away(error):
                raise Unavailable("the message may not be stored") from error
            raise
        crash_point("messages.stored")
        # In the loop's next turn, as the answers: what a client gets then goes out in one write.
        asyncio.get_running_loop().call_soon(self._tell, stored)
        return answers

    def _tell(self, stored: Sequence[Message]) -> None:
        """Broadcast what is committed; a failure is told and leaves a gap, which is read from the database."""
        try:
            self._broadcast(stored)
        except Exception as error:
            log.error("chat.broadcast_failed", messages=len(stored), error=repr(error))
            report(error)

    async def _store_batch(self, drafts: Sequence[Draft]) -> tuple[list[Message], list[Message | ServiceError]]:
        """Store what is new; return it, and the answer to each draft."""
        if all(draft.role is not Role.ARBITER for draft in drafts):
            added = await self._add(drafts)
            if added is not None:
                return added, [*added]
        return await self._sort_out(drafts)

    async def _add(self, drafts: Sequence[Draft]) -> list[Message] | None:
        """Store them all at once, as nearly always; None where one of them may have to be refused or is known."""
        now = self._clock.now()
        async with self._database.reading() as connection:  # one statement, which commits by itself
            return await messages.add(connection, drafts, now, now - self._read_only_after)

    async def _sort_out(self, drafts: Sequence[Draft]) -> tuple[list[Message], list[Message | ServiceError]]:
        async with self._database.transaction() as connection:
            chats = await messages.lock_chats(connection, drafts)
            known = await messages.find_named(connection, drafts)
            now = self._clock.now()
            batch = number(drafts, chats, known, now, self._read_only_after)
            stored = await messages.insert(connection, batch, now)
        return stored, batch.answered(stored)
