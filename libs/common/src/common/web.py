"""The HTTP edge of a service: exact JSON, problems instead of stack traces, limits, health, request ids.

What enters: HTTP. What leaves: JSON and RFC 9457 problems. What never happens here: a rule or SQL.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common import ids, metrics
from common.db import FAILURES, MISTAKES
from common.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    ServiceError,
    Unauthorized,
    Unavailable,
    problem,
)
from common.exact import parse_json
from common.idempotency import Replayed
from common.logging import get_logger, report, tell_request
from common.money import Currencies

log = get_logger()

MAX_BODY_BYTES = 64 * 1024
DRAIN_BYTES = 10_000_000
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
PROBLEM_JSON = "application/problem+json"

Check = Callable[[], Awaitable[None]]


def _clean(text: str) -> str:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("the text must not hold NUL or lone surrogates")
    return text


Id = Annotated[int, Path(ge=1, le=ids.MAX_ID)]
"""An id in a path."""

PossiblyEmpty = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_clean)]
"""Text that PostgreSQL can hold."""

Text = Annotated[PossiblyEmpty, StringConstraints(min_length=1)]
"""Text that PostgreSQL can hold, not empty."""


class Body(BaseModel):
    """A request's body: exact types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Problem(BaseModel):
    """An error as RFC 9457 describes it; `code` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str

    model_config = ConfigDict(extra="allow")


async def _currencies(request: Request) -> Currencies:
    currencies: Currencies = request.app.state.currencies
    return currencies


Configured = Annotated[Currencies, Depends(_currencies)]
"""The configured currencies, which `main` puts into the application's state."""


def answers(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a route can answer, for OpenAPI."""
    usual: tuple[type[ServiceError], ...] = (Unauthorized, Forbidden, InvalidInput)
    return {
        error.status: {
            "description": error.title,
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for error in (*usual, *errors)
    }


class _ExactRequest(Request):
    """Reads JSON numbers as Decimal or int, never as float, and refuses NaN and Infinity."""

    async def json(self) -> Any:
        return parse_json(await self.body())


class ExactRoute(APIRoute):
    """A route whose body is read by `parse_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler with the exact request."""
        handler = super().get_route_handler()

        async def exact(request: Request) -> Response:
            return await handler(_ExactRequest(request.scope, request.receive))

        return exact


def router(**settings: Any) -> APIRouter:
    """Return a router with exact JSON."""
    return APIRouter(route_class=ExactRoute, redirect_slashes=False, **settings)


BodyModel = TypeVar("BodyModel", bound=BaseModel)


async def read_body(request: Request, model: type[BodyModel]) -> BodyModel:
    """Read a body without numbers that could be fractions, for a path where each microsecond counts.

    Raises:
        RequestValidationError: as FastAPI itself, when the body is not what the model wants.
    """
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        errors = [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_url=False)]
        raise RequestValidationError(errors) from error


class Edge:
    """The outermost layer: request id, one trailing slash, the body's limit, one log line per request.

    Pure ASGI on purpose: BaseHTTPMiddleware cancels the handler when a client leaves, which leaks connections.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = ids.bind_request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        if len(scope["path"]) > 1 and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"][:-1], "raw_path": None}
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        body = await _read_body(receive)
        if body is None:
            detail = f"the body may have {MAX_BODY_BYTES} bytes at most"
            too_large = problem(413, "body_too_large", "Body too large", detail)
            response = JSONResponse(too_large, 413, media_type=PROBLEM_JSON)
            await response(scope, receive, send_with_id)
        else:
            try:
                await self._app(scope, _replay(body, receive), send_with_id)
            except asyncio.CancelledError:  # the server ends, and has waited as long as it may
                if status == 0:
                    ending = await _service_error(None, Unavailable("the service ends; ask again"))
                    await ending(scope, receive, send_with_id)
                raise
        took_s = time.perf_counter() - started
        if not scope["path"].endswith(("/healthz", "/readyz", "/metrics")):
            _count(scope, status, took_s)
            tell_request(
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round(took_s * 1000, 1),
            )


def _count(scope: Scope, status: int, took_s: float) -> None:
    """Count a request by its route as it is declared: a path would make a metric of each id."""
    route = getattr(scope.get("route"), "path", "none")
    method = scope["method"] if scope["method"] in METHODS else "other"
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.REQUEST_S.labels(route).observe(took_s)


async def _read_body(receive: Receive) -> bytes | None:
    """Read the whole body, or return None when it is longer than allowed.

    Too long a body is read on and thrown away, up to a limit: a client that still writes when the connection
    is closed never sees the answer.
    """
    body, size = bytearray(), 0
    while size <= DRAIN_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
        if not message.get("more_body", False):
            break
    return bytes(body) if size <= MAX_BODY_BYTES else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand the body that was read to the application, then what comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def create_app(title: str, description: str, ready: dict[str, Check]) -> FastAPI:
    """Return an application with the edge, error handlers and health endpoints.

    Args:
        title: the service's name, for OpenAPI.
        description: what the service does, for OpenAPI.
        ready: named checks that `/readyz` runs; one that raises makes it 503.
    """
    app = FastAPI(
        title=title,
        description=description,
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/internal/openapi.json",
        redirect_slashes=False,
    )
    app.add_middleware(Edge)
    for error, handler in (
        (ServiceError, _service_error),
        (Replayed, _replayed),
        (RequestValidationError, _validation_error),
        (HTTPException, _http_error),
        (Exception, _bug),
        *((failure, _database_away) for failure in FAILURES),
        *((mistake, _bug) for mistake in MISTAKES),
    ):
        app.add_exception_handler(error, handler)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        return Response(metrics.render(), media_type=metrics.CONTENT_TYPE)

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        failed = {name: text for name, check in ready.items() if (text := await _run_check(check))}
        return JSONResponse({"ready": not failed, "failed": failed}, 503 if failed else 200)

    return app


async def _run_check(check: Check) -> str | None:
    try:
        await check()
    except ServiceError as error:
        return error.detail
    return None


def _respond(body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body, default=str), body["status"], headers=headers, media_type=PROBLEM_JSON)


async def _service_error(_: Request | None, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    headers = {
        401: {"www-authenticate": "Bearer"},
        503: {"retry-after": "1"},
    }.get(error.status)
    return _respond(error.body(), headers)


async def _replayed(_: Request, kept: Exception) -> Response:
    assert isinstance(kept, Replayed)
    headers = {"idempotent-replayed": "true"}
    return Response(
        kept.answer, kept.status, headers=headers, media_type="application/json" if kept.answer else None
    )


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"at": ".".join(str(part) for part in item["loc"]), "message": _printable(item["msg"])}
        for item in error.errors()[:20]
    ]
    detail = "; ".join(f"{item['at']}: {item['message']}" for item in errors)
    return _respond(InvalidInput(detail, errors=errors).body())


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _respond(NotFound("there is no such path").body())
    if error.status_code == 400:  # FastAPI's word for a body that could not be read
        return _respond(InvalidInput(str(error.detail)).body())
    code = {405: "method_not_allowed"}.get(error.status_code, "http_error")
    body = problem(error.status_code, code, str(error.detail), f"{request.method} is not possible here")
    return _respond(body, dict(error.headers or {}))


async def _database_away(request: Request, error: Exception) -> Response:
    log.warning("http.dependency_failed", error=repr(error))
    report(error)
    away = Unavailable("the database did not answer; try the same call again")
    return await _service_error(request, away)


async def _bug(_: Request, error: Exception) -> Response:
    log.error("http.bug", exc_info=error)
    return _respond(problem(500, "internal_error", "Internal error", "this is a bug; it was reported"))
