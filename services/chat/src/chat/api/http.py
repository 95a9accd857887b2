"""The HTTP edge of chat: health, metrics, its proof for operators, and a problem for every other path."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from common import metrics
from common.auth import identify
from common.errors import NotFound, ServiceError
from common.web import PROBLEM_JSON, Check


def _json(body: object, status: int = 200, content_type: str = "application/json") -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type=content_type)


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer what is refused, and a path that is not there, as every service does."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        body = NotFound("there is no such path").body()
        return _json(body, 404, PROBLEM_JSON)
    except ServiceError as error:
        return _json(error.body(), error.status, PROBLEM_JSON)


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
