"""The first steps of a story, through the public API and on the sandbox chain."""

import secrets
from typing import Any

import httpx

from support.system import System


async def user(system: System, name: str = "Alice", key: str = "API_KEY") -> int:
    """Make a user and return its id."""
    body = {"name": name, "external_id": secrets.randbelow(2**60) + 1}
    return int((await system.call("POST", "/user/", body, key)).json()["id"])


async def deal(system: System, price: str = "10") -> dict[str, Any]:
    """Make a deal of two new users and return it."""
    body = {
        "title": "A logo",
        "description": "Three drafts",
        "price": price,
        "customer_id": await user(system, "Alice"),
        "performer_id": await user(system, "Bob"),
    }
    created: dict[str, Any] = (await system.call("POST", "/deal/", body)).json()
    return created


async def fund(system: System, user_id: int, usdt: str) -> dict[str, Any]:
    """Pay through the gateway and the chain; return the payment."""
    body = {"gateway_id": "tron_usdt", "user_id": user_id, "amount": usdt, "currency": "USDT"}
    payment: dict[str, Any] = (await system.call("POST", "/payment", body)).json()
    async with httpx.AsyncClient(timeout=60) as client:
        address = payment["gateway_data"]["address"]
        url = f"{system.environment['TRON_NODE_URL']}/admin/faucet"
        (await client.post(url, json={"address": address, "usdt": usdt})).raise_for_status()
    return payment
