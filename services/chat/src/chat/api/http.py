"""The HTTP edge of chat: health, metrics, its proof for operators, and a problem for every other path."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from common import metrics
from common.auth import identify
from common.db import away
from common.errors import NotFound, ServiceError, Unavailable, problem
from common.ids import bind_request_id
from common.logging import get_logger, report, tell_request
from common.web import PROBLEM_JSON, Check

log = get_logger()

PUBLIC = "/api/"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _json(body: object, status: int = 200, content_type: str = "application/json") -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type=content_type)


def _refusal(error: ServiceError) -> web.Response:
    answer = _json(error.body(), error.status, PROBLEM_JSON)
    answer.headers.update({401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}.get(error.status, {}))
    return answer


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what is refused, and a path that is not there, as every service does."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _refusal(NotFound("there is no such path"))
    except web.HTTPMethodNotAllowed as error:
        detail = f"{request.method} is not possible here"
        answer = _json(problem(405, "method_not_allowed", error.reason, detail), 405, PROBLEM_JSON)
        answer.headers["allow"] = error.headers["allow"]
        return answer
    except ServiceError as error:
        return _refusal(error)
    except Exception as error:
        if away(error):
            log.warning("http.dependency_failed", error=repr(error))
            report(error)
            return _refusal(Unavailable("the database did not answer; try the same call again"))
        if request.path.startswith(PUBLIC):
            log.error("http.bug", exc_info=error)
            bug = problem(500, "internal_error", "Internal error", "this is a bug; it was reported")
            return _json(bug, 500, PROBLEM_JSON)
        raise


@web.middleware
async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give a public call its request id, and a line in the log; sockets live too long for either."""
    if not request.path.startswith(PUBLIC):
        return await handler(request)
    started = time.perf_counter()
    request_id = bind_request_id(request.headers.get("x-request-id"))
    answer = await handler(request)
    answer.headers["x-request-id"] = request_id
    ms = round((time.perf_counter() - started) * 1000, 1)
    tell_request(method=request.method, path=request.path, status=answer.status, ms=ms)
    return answer


EDGE = (traced, problems)
"""What every request passes, the outermost first."""


def add_health(app: web.Application, ready: dict[str, Check]) -> None:
    """Add `/healthz` and `/readyz`."""

    async def healthz(_: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        failed = {}
        for name, check in ready.items():
            try:
                await check()
            except ServiceError as error:
                failed[name] = error.detail
        return _json({"ready": not failed, "failed": failed}, 503 if failed else 200)

    async def prometheus(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"content-type": metrics.CONTENT_TYPE})

    app.router.add_get("/metrics", prometheus)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)


def add_invariants(
    app: web.Application, callers: Mapping[str, str], check: Callable[[], Awaitable[dict[str, Any]]]
) -> None:
    """Add `/internal/v1/invariants`; the gateway does not route it, and it wants the operator's credential."""

    async def invariants(request: web.Request) -> web.Response:
        identify(callers, request.headers.get("authorization", ""), ("operator",))
        return _json(await check())

    app.router.add_get("/internal/v1/invariants", invariants)
