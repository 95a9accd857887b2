"""The messages of a chat over HTTP, for a marketplace's own views and for disputes."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from aiohttp import web
from pydantic import ValidationError

from chat.api.schemas import MessagesOut, MessagesQuery
from chat.domain.model import Message
from common.auth import KeyVerifier, authorize, bearer
from common.errors import InvalidInput

PATH = "/api/v1/chat/{chat_id}/messages"
SCOPES = ("default", "arbiter")

Read = Callable[[int, UUID, int, int], Awaitable[Sequence[Message]]]
"""Returns a tenant's messages of a chat above a `seq`, as many as asked for at most."""


def add_messages(app: web.Application, verifier: KeyVerifier, read: Read) -> None:
    """Add the path, with and without a slash at its end."""

    async def messages(request: web.Request) -> web.Response:
        who = await authorize(verifier, bearer(request.headers.get("authorization", "")), SCOPES)
        chat_id, query = _chat_id(request), _query(request)
        page = await read(who.tenant_id, chat_id, int(query.cursor or 0), query.limit)
        shown = MessagesOut.of(page, query.limit).model_dump_json()
        return web.Response(text=shown, content_type="application/json")

    for path in (PATH, f"{PATH}/"):
        app.router.add_get(path, messages, allow_head=False)


def _chat_id(request: web.Request) -> UUID:
    try:
        return UUID(request.match_info["chat_id"])
    except ValueError as error:
        raise _invalid([("path.chat_id", "must be a UUID")]) from error


def _query(request: web.Request) -> MessagesQuery:
    try:
        return MessagesQuery.model_validate(dict(request.query))
    except ValidationError as error:
        wrong = [(f"query.{'.'.join(map(str, item['loc']))}", str(item["msg"])) for item in error.errors()]
        raise _invalid(wrong) from error


def _invalid(wrong: Sequence[tuple[str, str]]) -> InvalidInput:
    """Say what is wrong as the other services do."""
    errors = [{"at": at, "message": message} for at, message in wrong]
    return InvalidInput("; ".join(f"{at}: {message}" for at, message in wrong), errors=errors)
