"""The admin API: what a test does to the chain and to the node."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from decimal import Decimal, InvalidOperation
from typing import Any

from tron_sandbox import addresses
from tron_sandbox.endpoints.network import SETTABLE
from tron_sandbox.evm import FAKE_USDT, USDT
from tron_sandbox.jsonformat import Json
from tron_sandbox.node import Fault, Node
from tron_sandbox.overview import overview

FAULTS = ("delay", "drop_before", "drop_after", "429", "403", "500", "503", "html", "error", "stale", "empty")
MAX_MINE = 100_000
MAX_ADVANCE_S = 366 * 86_400
MAX_SKEW_S = 90
"""Clients let transactions expire after a minute of their own clock: a larger skew would only refuse them all."""


class BadRequest(Exception):
    """An admin call that can't be done; the text says why."""


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


def _amount(body: Json, name: str, least: int, most: int) -> int:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(f"{name} must be a whole number from {least} to {most}")
    return value


def _switch(body: Json, name: str) -> bool:
    if body.get(name) not in (True, False, "true", "false"):
        raise BadRequest(f"{name} must be true or false")
    return body[name] in (True, "true")


def _only(body: Json, names: Collection[str]) -> None:
    unknown = set(body) - set(names)
    if unknown or not body:
        raise BadRequest(
            f"wanted: {', '.join(names)}" + (f"; not {', '.join(sorted(unknown))}" if unknown else "")
        )


async def _until_in_block(node: Node, txids: list[str]) -> None:
    if node.interval_s == 0:
        await node.mine(1)
    async with asyncio.timeout(60), node.mined:
        await node.mined.wait_for(lambda: all(bytes.fromhex(t) in node.chain.where for t in txids))


async def _faucet(node: Node, body: Json) -> Json:
    address = addresses.from_text(body.get("address"))
    sun = _units(body["trx"], 6, "trx") if "trx" in body else 0
    usdt = _units(body["usdt"], 6, "usdt") if "usdt" in body else 0
    txids = node.faucet.send(address, sun, usdt)
    await _until_in_block(node, txids)
    return {"txids": txids, "block": node.chain.head.number}


_LISTS = {
    "blacklist": "addBlackList(address)",
    "unblacklist": "removeBlackList(address)",
    "destroy": "destroyBlackFunds(address)",
}


async def _token(node: Node, body: Json) -> Json:
    _only(body, ("token", "pause", *_LISTS, "fee_basis_points", "maximum_fee"))
    token = addresses.from_text(body["token"]) if "token" in body else USDT
    if token not in (USDT, FAKE_USDT):
        raise BadRequest("token must be the USDT of the sandbox or the fake one beside it")
    calls: list[tuple[str, list[Any]]] = []
    if "pause" in body:
        calls.append(("pause()" if _switch(body, "pause") else "unpause()", []))
    for name, function in _LISTS.items():
        if name in body:
            calls.append((function, [addresses.from_text(body[name])[1:]]))
    if "fee_basis_points" in body or "maximum_fee" in body:
        if not {"fee_basis_points", "maximum_fee"} <= set(body):
            raise BadRequest("fee_basis_points and maximum_fee go together")
        fee = [_amount(body, "fee_basis_points", 0, 10_000), _amount(body, "maximum_fee", 0, 2**63)]
        calls.append(("setParams(uint256,uint256)", fee))
    txids = [node.faucet.tell_token(token, function, arguments) for function, arguments in calls]
    await _until_in_block(node, txids)
    return {"txids": txids, "block": node.chain.head.number}


async def _parameters(node: Node, body: Json) -> Json:
    if body:
        _only(body, SETTABLE)
        least = {"getEnergyFee": 1}
        changes = {SETTABLE[name]: _amount(body, name, least.get(name, 0), 10**15) for name in body}
        async with node.changing:
            node.chain.set_parameters(changes)
    fees = node.chain.world.parameters
    return {name: getattr(fees, field) for name, field in SETTABLE.items()}


async def _stop_solid(node: Node, body: Json) -> Json:
    async with node.changing:
        node.chain.stop_solid(_switch(body, "stop"))
    return {"head": node.chain.head.number, "solid": node.chain.solid_number}


async def _resources(node: Node, body: Json) -> Json:
    names = ("free_bandwidth", "bandwidth", "energy")
    _only(body, ("address", *names))
    address = addresses.from_text(body.get("address"))
    left = {name: _amount(body, name, 0, 10**15) for name in names if name in body}
    async with node.changing:
        node.chain.leave(address, left)
    return {"address": addresses.to_base58(address)}


async def _mine(node: Node, body: Json) -> Json:
    await node.mine(_count(body, "blocks", 1, MAX_MINE))
    return {"head": node.chain.head.number, "solid": node.chain.solid_number}


async def _fork(node: Node, body: Json) -> Json:
    async with node.changing:
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
        _only(body, ("advance", "skew"))
    if "skew" in body:
        async with node.changing:
            node.chain.skew(_amount(body, "skew", -MAX_SKEW_S, MAX_SKEW_S) * 1000)
    if "advance" in body:
        async with node.changing:
            node.chain.advance(_count(body, "advance", 1, MAX_ADVANCE_S) * 1000)
    chain = node.chain
    return {"ahead": chain.ahead_ms // 1000, "skew": chain.skew_ms // 1000, "time": chain.clock_ms}


async def _overview(node: Node, _: Json) -> Json:
    return overview(node)


Action = Callable[[Node, Json], Awaitable[Json]]

ACTIONS: dict[str, Action] = {
    "overview": _overview,
    "faucet": _faucet,
    "mine": _mine,
    "fork": _fork,
    "faults": _faults,
    "requests": _requests,
    "clock": _clock,
    "parameters": _parameters,
    "token": _token,
    "stop_solid": _stop_solid,
    "resources": _resources,
}
