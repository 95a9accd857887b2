"""From the solid block to the confirmed deal, on the whole system."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import nats
import orjson

from bench.paying.report import Figure
from support.system import System, running_system

PAID_A_SECOND = 5
"""300 a minute."""
LOOK_S = 0.02
WITHIN_S = 60


def confirming(deals: int) -> list[Figure]:
    """Time it for so many deals."""
    with running_system() as system:
        return asyncio.run(_measure(system, deals))


async def _measure(system: System, deals: int) -> list[Figure]:
    solid, confirmed, blocks = dict[int, float](), dict[int, float](), dict[int, int]()
    complete = asyncio.Event()
    client = await nats.connect(system.environment["NATS_URL"])
    try:
        async with _watching(system, solid):

            async def note(message: Any) -> None:
                confirmed[orjson.loads(message.data)["data"]["deal_id"]] = time.monotonic()
                if len(confirmed) == deals:
                    complete.set()

            await client.subscribe("deal.confirmed", cb=note)
            performer = await _user(system, 900_000)
            waiting = [await _deal(system, number, performer) for number in range(deals)]
            for start in range(0, deals, PAID_A_SECOND):
                some = waiting[start : start + PAID_A_SECOND]
                found = await asyncio.gather(*(_pay(system, address) for _, address in some))
                blocks |= {deal: height for (deal, _), height in zip(some, found, strict=True)}
            await asyncio.wait_for(complete.wait(), WITHIN_S)
    finally:
        await client.close()
    took = sorted(confirmed[deal] - solid[height] for deal, height in blocks.items())
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    return [
        Figure("confirming", f"from the solid block to the deal confirmed, p99 of {deals}", p99, "s", most=2),
        Figure("confirming_p50", "the same, median", statistics.median(took), "s"),
    ]


@contextlib.asynccontextmanager
async def _watching(system: System, solid: dict[int, float]) -> AsyncIterator[None]:
    """Note when each block became solid."""

    async def watch() -> None:
        async with httpx.AsyncClient(base_url=system.url("tron"), timeout=10) as client:
            while True:
                answer = (await client.post("/walletsolidity/getblock", json={"detail": False})).json()
                height = answer["block_header"]["raw_data"].get("number", 0)
                for one in range(max(solid, default=height - 1) + 1, height + 1):
                    solid[one] = time.monotonic()
                await asyncio.sleep(LOOK_S)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _user(system: System, external_id: int) -> int:
    body = {"name": "somebody", "external_id": external_id}
    return int((await _call(system, "POST", "/user/", body))["id"])


async def _deal(system: System, number: int, performer: int) -> tuple[int, str]:
    """Make a deal that waits for a payment; return it and where to pay."""
    customer = await _user(system, 910_000 + number)
    names = {"title": "A logo", "description": "Three drafts", "price": "10"}
    deal = await _call(system, "POST", "/deal/", {**names, "customer_id": customer, "performer_id": performer})
    await _call(system, "POST", f"/deal/{deal['deal_id']}/confirm", None)
    wanted = {"gateway_id": "tron_usdt", "user_id": customer, "amount": "10", "currency": "USDT"}
    payment = await _call(system, "POST", "/payment", wanted)
    return int(deal["deal_id"]), str(payment["gateway_data"]["address"])


async def _call(system: System, method: str, path: str, body: Any) -> dict[str, Any]:
    answer = await system.call(method, path, body)
    assert answer.status_code < 300, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _pay(system: System, address: str) -> int:
    """Pay; return the block."""
    async with httpx.AsyncClient(base_url=system.url("tron"), timeout=30) as client:
        sent = (await client.post("/admin/faucet", json={"address": address, "usdt": "10"})).json()
        info = (await client.post("/wallet/gettransactioninfobyid", json={"value": sent["txids"][-1]})).json()
    return int(info["blockNumber"])
