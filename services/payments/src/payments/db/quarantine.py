"""Transactions that were set aside because they could not be read or stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from common.db import Connection
from payments.domain.model import MOST_RAW, Unreadable

_INSERT = sa.text(
    """
    INSERT INTO quarantined (network, height, txid, reason, raw, created_at)
    VALUES (:network, :height, :txid, :reason, :raw, :now) ON CONFLICT DO NOTHING
    """
)
_OPEN = sa.text(
    """
    SELECT id, network, height, txid, reason FROM quarantined
     WHERE resolved_at IS NULL AND id > :after AND (CAST(:txid AS text) IS NULL OR txid = :txid)
     ORDER BY id LIMIT :limit
    """
)
_LOCK = sa.text("SELECT id FROM quarantined WHERE id = :id AND resolved_at IS NULL FOR UPDATE")
_RESOLVE = sa.text("UPDATE quarantined SET resolved_at = :now WHERE id = :id")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A transaction that was set aside, by its id or its place in the block."""

    id: int
    network: str
    height: int
    txid: str
    reason: str


async def insert(
    connection: Connection, network: str, height: int, found: Sequence[Unreadable], now: datetime
) -> None:
    """Set transactions of a block aside; those that were stay as they are. PostgreSQL holds no NUL."""
    for item in found:
        values: dict[str, Any] = {
            "network": network,
            "height": height,
            "txid": item.txid.replace("\0", ""),
            "reason": item.reason.replace("\0", ""),
            "raw": item.raw.replace("\0", "")[:MOST_RAW],
            "now": now,
        }
        await connection.execute(_INSERT, values)


async def still_open(connection: Connection, after: int, limit: int, txid: str | None = None) -> list[Quarantined]:
    """Return those with ids above `after` that were not stored since, of one transaction where it is given."""
    values = {"after": after, "limit": limit, "txid": txid}
    return [Quarantined(*row) for row in await connection.execute(_OPEN, values)]


async def lock(connection: Connection, quarantined_id: int) -> bool:
    """Lock one; False when it was stored meanwhile."""
    return (await connection.first(_LOCK, {"id": quarantined_id})) is not None


async def resolve(connection: Connection, quarantined_id: int, now: datetime) -> None:
    """Note that one was stored."""
    await connection.execute(_RESOLVE, {"id": quarantined_id, "now": now})
