"""The HTTP server: `/wallet`, `/walletsolidity` and `/admin` on one port, and faults on demand."""

import asyncio
import collections
import contextlib
import os
import signal
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tron_sandbox import addresses
from tron_sandbox.api import ENDPOINTS, View, fault
from tron_sandbox.chain import Chain
from tron_sandbox.faucet import Faucet
from tron_sandbox.protocol import Json, ProtocolError

FAULTS = ("delay", "drop_before", "drop_after", "429", "403", "500", "503", "html", "error", "stale", "empty")
MAX_DELAY_S = 60.0
STALE_BLOCKS = 50
MAX_MINE = 100_000
MAX_ADVANCE_S = 366 * 86_400
MAX_BODY_BYTES = 4_000_000


class BadRequest(Exception):
    """An admin call that can't be done; the text says why."""


@dataclass(slots=True)
class Fault:
    """A fault that strikes the next `count` calls of an endpoint (`*`: of all)."""

    endpoint: str
    kind: str
    count: int
    seconds: float


class Node:
    """A chain with its clock, its faucet, its counters and its armed faults."""

    def __init__(self, chain: Chain, block_interval_s: float) -> None:
        self.chain = chain
        self.interval_s = block_interval_s
        self.faucet = Faucet(chain)
        self.requests: collections.Counter[str] = collections.Counter()
        self.faults: list[Fault] = []
        self.mined = asyncio.Condition()

    async def run(self) -> None:
        """Make a block each interval, until cancelled; an interval of 0 makes none."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self.interval_s > 0:
            due = max(due + self.interval_s, loop.time())
            await asyncio.sleep(due - loop.time())
            await self.mine(1)

    async def mine(self, count: int) -> None:
        """Make blocks and tell those who wait for one."""
        while count > 0:
            self.chain.mine(min(count, 500))
            count -= 500
            await asyncio.sleep(0)
        async with self.mined:
            self.mined.notify_all()

    def take_fault(self, endpoint: str) -> Fault | None:
        """Return the fault that strikes this call, and count it."""
        for armed in self.faults:
            if armed.endpoint in ("*", endpoint, endpoint.rpartition("/")[2]):
                armed.count -= 1
                if armed.count <= 0:
                    self.faults.remove(armed)
                return armed
        return None


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


async def _read(request: Request) -> Json:
    if request.method == "GET":
        return dict(request.query_params)
    body = await request.body()
    if not body:
        return {}
    if len(body) > MAX_BODY_BYTES:
        raise ProtocolError("the body is too large")
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
    view = View(node.chain, solid=api == "walletsolidity")
    if stale:
        view = _StaleView(node.chain, solid=view.solid)
    try:
        return _json(endpoint(view, body))
    except addresses.AddressError as error:
        return _json(fault("java.lang.IllegalArgumentException", str(error)))
    except ProtocolError as error:
        return _json(fault("com.alibaba.fastjson.JSONException", str(error)))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        return _json(fault("java.lang.IllegalArgumentException", str(error)))


class _StaleView(View):
    """A node that stopped to follow the chain some blocks ago."""

    @property
    def top(self) -> Any:
        number = super().top.number
        return self.chain.blocks[max(0, number - STALE_BLOCKS)]

    def block(self, number: int) -> Any:
        return super().block(number) if number <= self.top.number else None


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
        except ProtocolError as error:
            return _json(fault("com.alibaba.fastjson.JSONException", str(error)))

        def answer(stale: bool) -> Response:
            return _call(node, api, name, body, stale=stale)

        armed = node.take_fault(path)
        return answer(False) if armed is None else await _struck(node, armed, answer)

    async def admin(request: Request) -> Response:
        action = _ADMIN.get(request.path_params["name"])
        if action is None:
            return _json({"error": f"there is no such admin call; there are {', '.join(_ADMIN)}"}, 404)
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


def _units(value: Any, decimals: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRequest(f'{name} must be a decimal string such as "10.5"')
    try:
        amount = Decimal(str(value)).scaleb(decimals)
    except InvalidOperation as error:
        raise BadRequest(f"{name} is not a number") from error
    if not amount.is_finite() or amount <= 0 or amount != int(amount):
        raise BadRequest(f"{name} must be positive and have {decimals} decimals at most")
    return int(amount)


def _count(body: Json, name: str, default: int, most: int) -> int:
    value = body.get(name, default)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise BadRequest(f"{name} must be a whole number from 1 to {most}")
    return value


async def _faucet(node: Node, body: Json) -> Json:
    address = addresses.from_text(body.get("address"))
    sun = _units(body["trx"], 6, "trx") if "trx" in body else 0
    usdt = _units(body["usdt"], 6, "usdt") if "usdt" in body else 0
    txids = node.faucet.send(address, sun, usdt)
    if node.interval_s == 0:
        await node.mine(1)
    async with asyncio.timeout(60), node.mined:
        await node.mined.wait_for(lambda: all(bytes.fromhex(t) in node.chain.where for t in txids))
    return {"txids": txids, "block": node.chain.head.number}


async def _mine(node: Node, body: Json) -> Json:
    await node.mine(_count(body, "blocks", 1, MAX_MINE))
    return {"head": node.chain.head.number, "solid": node.chain.solid_number}


async def _fork(node: Node, body: Json) -> Json:
    node.chain.fork(_count(body, "depth", 1, 10_000), drop=body.get("drop") in (True, "true"))
    return {"head": node.chain.head.number, "pool": len(node.chain.pool)}


async def _faults(node: Node, body: Json) -> Json:
    if body.get("clear"):
        node.faults.clear()
    elif body:
        endpoint, kind = body.get("endpoint"), str(body.get("kind"))
        if not isinstance(endpoint, str) or kind not in FAULTS:
            raise BadRequest(f"wanted: endpoint, kind ({', '.join(FAULTS)}), count, seconds")
        seconds = float(body.get("seconds", 1))
        node.faults.append(Fault(endpoint, kind, _count(body, "count", 1, 10**9), seconds))
    armed = [{"endpoint": f.endpoint, "kind": f.kind, "count": f.count} for f in node.faults]
    return {"armed": armed}


async def _requests(node: Node, body: Json) -> Json:
    found = dict(sorted(node.requests.items()))
    if body.get("clear"):
        node.requests.clear()
    return found


async def _clock(node: Node, body: Json) -> Json:
    if body:
        node.chain.advance(_count(body, "advance", 1, MAX_ADVANCE_S) * 1000)
    return {"ahead": node.chain.ahead_ms // 1000, "time": node.chain.clock_ms}


_ADMIN = {
    "faucet": _faucet,
    "mine": _mine,
    "fork": _fork,
    "faults": _faults,
    "requests": _requests,
    "clock": _clock,
}
