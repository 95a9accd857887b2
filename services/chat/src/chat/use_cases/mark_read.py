"""Note how far parties have read; many marks are stored in one statement."""

from collections.abc import Callable, Sequence

from chat.db import live
from chat.domain.model import ReadMark
from common.db import FAILURES, Database
from common.errors import Unavailable
from common.gather import Gatherer

MAX_BATCH = 500

Show = Callable[[Sequence[ReadMark]], None]


class Marks:
    """Stores marks, and hands those that moved to `show` once they are committed."""

    def __init__(self, database: Database, show: Show) -> None:
        self._database = database
        self._show = show
        self._gatherer: Gatherer[ReadMark, None] = Gatherer(self._store, MAX_BATCH)

    async def mark(self, mark: ReadMark) -> None:
        """Move a mark forward, to the last message at most; back it never goes.

        Raises:
            Unavailable: when the database failed; asking again is harmless.
        """
        await self._gatherer.ask([mark])

    async def _store(self, marks: Sequence[ReadMark]) -> list[None]:
        try:
            async with self._database.transaction() as connection:
                moved = await live.mark_read(connection, marks)
        except FAILURES as error:
            raise Unavailable("how far was read may not be stored") from error
        self._show(moved)
        return [None] * len(marks)
