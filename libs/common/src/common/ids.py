"""Identifiers: event ids, chat ids, and the request id that follows a call through HTTP and events."""

import contextvars
import re
import uuid
from datetime import datetime

MAX_ID = 2**63 - 1
"""The largest id: PostgreSQL's bigint."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_current: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)


def new_uuid() -> uuid.UUID:
    """Return a random identifier: 122 bits from the system's source, so it can't be guessed."""
    return uuid.uuid4()


def uuid_of(moment: datetime) -> uuid.UUID:
    """Return a new UUID of version 7: it begins with the moment, so that an index of many grows at its end."""
    milliseconds, random = int(moment.timestamp() * 1000), uuid.uuid4().int
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | random & (1 << 76) - 1)


def bind_request_id(given: str | None) -> str:
    """Make `given` the current request id, or a new one where it is absent or malformed."""
    request_id = given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    _current.set(request_id)
    return request_id


def request_id() -> str | None:
    """Return the current request id, or None outside a request."""
    return _current.get()
