"""The HTTP server: `/wallet`, `/walletsolidity` and `/admin` on one port, and faults on demand."""

import asyncio
import contextlib
import os
import signal
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tron_sandbox import addresses
from tron_sandbox.admin import ACTIONS, BadRequest
from tron_sandbox.endpoints import ENDPOINTS
from tron_sandbox.jsonformat import Json, ProtocolError
from tron_sandbox.node import Fault, Node
from tron_sandbox.overview import page
from tron_sandbox.view import StaleView, View, fault

MAX_DELAY_S = 60.0
MAX_BODY_BYTES = 4 * 1024 * 1024


class TooBig(ValueError):
    """A body that java-tron would not read."""


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


async def _read(request: Request) -> Json:
    if request.method == "GET":
        return dict(request.query_params)
    body = await request.body()
    if not body:
        return {}
    if len(body) > MAX_BODY_BYTES:
        raise TooBig(f"body size is too big, the limit is {MAX_BODY_BYTES}")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"the body is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise ProtocolError("the body is no JSON object")
    return parsed


def _call(node: Node, api: str, name: str, body: Json, *, stale: bool) -> Response:
    endpoint = ENDPOINTS[api].get(name)
    if endpoint is None:
        return Response("Not Found", 404)
    view = (StaleView if stale else View)(node.chain, solid=api == "walletsolidity")
    try:
        return _json(endpoint(view, body))
    except addresses.AddressError as error:
        return _json(fault("java.lang.IllegalArgumentException", str(error)))
    except ProtocolError as error:
        return _json(fault("com.alibaba.fastjson.JSONException", str(error)))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        return _json(fault("java.lang.IllegalArgumentException", str(error)))


async def _struck(node: Node, armed: Fault, answer: Callable[[bool], Response]) -> Response:
    match armed.kind:
        case "delay":
            await asyncio.sleep(min(armed.seconds, MAX_DELAY_S))
            return answer(False)
        case "drop_before":
            return _Dropped()
        case "drop_after":
            answer(False)
            return _Dropped()
        case "html":
            return HTMLResponse("<html><body><h1>502 Bad Gateway</h1></body></html>", 502)
        case "error":
            text = "lack of computing resources"
            return _json(fault("java.lang.IllegalAccessException", text))
        case "stale":
            return answer(True)
        case "empty":
            return _json([])
        case status:
            return Response(f"fault {status}", int(status))


class _Dropped(Response):
    """Closes the connection in the middle of the answer, so that the client has none."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"1000"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise ConnectionAbortedError("a fault dropped the answer")


def create_app(node: Node) -> Starlette:
    """Return the application; its lifespan makes the blocks."""

    async def wallet(request: Request) -> Response:
        api, name = request.path_params["api"], request.path_params["name"]
        path = f"{api}/{name}"
        node.requests[path] += 1
        try:
            body = await _read(request)
        except TooBig as error:
            return _json(fault("java.lang.Exception", str(error)))
        except ProtocolError as error:
            return _json(fault("com.alibaba.fastjson.JSONException", str(error)))

        def answer(stale: bool) -> Response:
            return _call(node, api, name, body, stale=stale)

        armed = node.take_fault(path)
        return answer(False) if armed is None else await _struck(node, armed, answer)

    async def admin(request: Request) -> Response:
        action = ACTIONS.get(request.path_params["name"])
        if action is None:
            return _json({"error": f"there is no such admin call; there are {', '.join(ACTIONS)}"}, 404)
        try:
            return _json(await action(node, await _read(request)))
        except (BadRequest, ProtocolError, addresses.AddressError, ValueError) as error:
            return _json({"error": str(error)}, 422)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        blocks = asyncio.create_task(node.run())
        blocks.add_done_callback(_end_when_failed)
        try:
            yield
        finally:
            blocks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await blocks

    return Starlette(
        routes=[
            Route("/{api:str}/{name:str}", _only_wallets(wallet), methods=["GET", "POST"]),
            Route("/admin/{name:str}", admin, methods=["GET", "POST"]),
            Route("/", lambda _: HTMLResponse(page())),
        ][::-1],
        lifespan=lifespan,
    )


def _end_when_failed(blocks: "asyncio.Task[None]") -> None:
    """A node that makes no blocks any more must not go on: end the process, with the reason."""
    if not blocks.cancelled() and blocks.exception() is not None:
        traceback.print_exception(blocks.exception())
        os.kill(os.getpid(), signal.SIGTERM)


def _only_wallets(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def checked(request: Request) -> Response:
        if request.path_params["api"] not in ENDPOINTS:
            return Response("Not Found", 404)
        response: Response = await handler(request)
        return response

    return checked
