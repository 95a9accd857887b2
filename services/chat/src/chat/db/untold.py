"""Chats with messages that no event has told of yet. Who stores a message notes its chat under the chat's lock."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from chat.domain.events import Untold
from chat.domain.model import Role
from common.db import Connection

# By chance, so that chats that have always something to tell keep no other from being told.
_WAITING = sa.text("SELECT chat_id FROM untold ORDER BY random() LIMIT :limit")
_LOCK = sa.text("SELECT id FROM chat WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE")
_LAST = sa.text(
    """
    SELECT c.id, c.deal_id, c.tenant_id, c.told_seq + 1, m.seq, m.id, m.user_id, m.role, m.created_at
      FROM chat c JOIN message m ON m.chat_id = c.id AND m.seq = c.last_seq
     WHERE c.id = ANY(CAST(:ids AS uuid[])) AND c.told_seq < c.last_seq ORDER BY c.id
    """
)
_TOLD = sa.text(
    """
    WITH told AS (UPDATE chat SET told_seq = last_seq WHERE id = ANY(CAST(:ids AS uuid[])) AND told_seq < last_seq)
    DELETE FROM untold WHERE chat_id = ANY(CAST(:ids AS uuid[]))
    """
)


async def take(connection: Connection, limit: int) -> list[Untold]:
    """Return what is to be told of some chats, and note that it is; they stay locked until the transaction ends.

    What is read comes after the locks, in a statement of its own, so that it holds what was stored meanwhile.
    """
    waiting: Sequence[UUID] = [row[0] for row in await connection.execute(_WAITING, {"limit": limit})]
    if not waiting:
        return []
    await connection.execute(_LOCK, {"ids": waiting})
    rows = await connection.execute(_LAST, {"ids": waiting})
    await connection.count(_TOLD, {"ids": waiting})
    return [Untold(r[0], r[1], r[2], r[3], r[4], r[5], r[6], Role(r[7]), r[8]) for r in rows]
