"""`Idempotency-Key`: a repeated POST is answered with the first answer, and does nothing twice.

The key is noted in the transaction of the effect, with the answer where it is known by then. Where money is still
moving, the answer is kept once it is final; until then a repeated call is shown the present state. Keys belong to
a tenant; a key that comes with another request is refused. Errors are not kept: they changed nothing.

    begin ──► new: go on │ answer kept: `Replayed` │ no answer yet: show the present state
              └ held by a call under way: `KeyInFlight` (409) │ another request: `KeyReused` (422)
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Header, Request
from pydantic import BaseModel

from common.db import Connection, Database
from common.errors import Conflict, InvalidInput
from common.exact import parse_json

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

# An INSERT would wait for the call under way instead of telling.
_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, :tenant_id))")
_FIND = sa.text(
    "SELECT fingerprint, status, answer FROM idempotency_key WHERE tenant_id = :tenant_id AND key = :key"
)
_NOTE = sa.text(
    "INSERT INTO idempotency_key (tenant_id, key, fingerprint) VALUES (:tenant_id, :key, :fingerprint)"
)
_KEEP = sa.text(
    """
    UPDATE idempotency_key SET status = :status, answer = :answer
     WHERE tenant_id = :tenant_id AND key = :key AND status IS NULL
    """
)
_PURGE = sa.text(
    """
    DELETE FROM idempotency_key WHERE (tenant_id, key) IN (
        SELECT tenant_id, key FROM idempotency_key WHERE created_at < :before LIMIT :limit)
    """
)


class KeyReused(InvalidInput):
    """The key came with another request before."""

    code = "idempotency_key_reused"


class KeyInFlight(Conflict):
    """A call with this key is under way."""

    code, title = "idempotency_key_in_flight", "The same call is under way"


class Replayed(Exception):
    """The answer is kept: the edge sends it again (`common.web`)."""

    def __init__(self, status: int, answer: str) -> None:
        super().__init__("replayed")
        self.status = status
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Retry:
    """The key of a call, and what has to be the same when it comes again: its path and its body."""

    key: str
    fingerprint: bytes


async def _retry(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(description="Makes a retry safe: the same key and body get the first answer again (30 days)"),
    ] = None,
) -> Retry | None:
    if idempotency_key is None:
        return None
    if not _KEY.fullmatch(idempotency_key):
        raise InvalidInput("Idempotency-Key must have 1 to 255 printable ASCII characters without spaces")
    raw = await request.body()
    body = json.dumps(parse_json(raw), sort_keys=True, default=str) if raw else ""
    content = f"{request.url.path}\n{body}".encode("utf-8", "surrogateescape")
    return Retry(idempotency_key, hashlib.sha256(content).digest())


Once = Annotated[Retry | None, Depends(_retry)]
"""The `Idempotency-Key` of a call, or None."""


async def begin(connection: Connection, tenant_id: int, retry: Retry | None) -> bool:
    """Note the key in the transaction of the effect; True when it is new or there is none.

    Raises:
        Replayed: when the first answer is kept.
        KeyInFlight: while another call holds the key.
        KeyReused: when the key came with another request.
    """
    if retry is None:
        return True
    values = {"tenant_id": tenant_id, "key": retry.key}
    if not (await connection.value(_LOCK, values)):
        raise KeyInFlight("a call with this Idempotency-Key is under way; ask again soon")
    row = await connection.first(_FIND, values)
    if row is None:
        await connection.execute(_NOTE, values | {"fingerprint": retry.fingerprint})
        return True
    fingerprint, status, answer = row
    if bytes(fingerprint) != retry.fingerprint:
        raise KeyReused("this Idempotency-Key came with another request; use a new key for a new request")
    if status is not None:
        raise Replayed(status, answer)
    return False


async def keep(
    connection: Connection, tenant_id: int, retry: Retry | None, answer: BaseModel | None, status: int = 200
) -> None:
    """Keep the answer for whoever asks again; the first one that was kept stays."""
    if retry is not None:
        text = "" if answer is None else answer.model_dump_json()
        values = {"tenant_id": tenant_id, "key": retry.key, "status": status, "answer": text}
        await connection.execute(_KEEP, values)


async def keep_final(
    database: Database, tenant_id: int, retry: Retry | None, answer: BaseModel | None, status: int = 200
) -> None:
    """Keep an answer that is known only after the effect was committed."""
    if retry is not None:
        async with database.transaction() as connection:
            await keep(connection, tenant_id, retry, answer, status)


async def purge(connection: Connection, before: datetime, limit: int) -> int:
    """Forget keys that were first used before a time; return how many."""
    return await connection.count(_PURGE, {"before": before, "limit": limit})
