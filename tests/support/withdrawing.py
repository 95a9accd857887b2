"""Withdrawals step by step: asked for, decided, sent, and read."""

from typing import Any

import httpx

from payments.use_cases.advance_withdrawals import advance_withdrawals
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.post_bookings import post_bookings
from payments.use_cases.scan_chain import scan_chain
from support.cashier import gateway_of, parts_of, rows
from support.chain import USDT as CONTRACT
from support.chain import SandboxNode, address_of, new_key
from support.house import USDT, House


async def begin(house: House, node: SandboxNode, money: int = 2_000, main_usdt: str = "5000") -> int:
    """Fill the main wallet, start the scanner, and return a user who has money in both currencies."""
    gateway = gateway_of(house)
    await node.admin("faucet", address=gateway.fuel_address, trx="10000")
    await node.admin("faucet", address=gateway.main_address, trx="10000", usdt=main_usdt)
    await node.settle()
    await scan_chain(parts_of(house), gateway)
    user = await house.user(1, "Alice")
    for currency in ("USDT", "TRX"):
        given = await house.credit(user, money * USDT, f"test:{currency}", currency=currency)
        assert given["outcome"] == "applied"
    return user


async def ask(
    house: House,
    user: int,
    amount: Any = "10",
    to: str | None = None,
    *,
    key: str = "withdraw",
    once: str | None = None,
    currency: str = "USDT",
) -> httpx.Response:
    """Ask for a withdrawal."""
    body = {
        "gateway_id": f"tron_{currency.lower()}",
        "user_id": user,
        "amount": amount,
        "currency": currency,
        "address": to or address_of(new_key()),
    }
    headers = {"idempotency-key": once} if once else {}
    async with house.client("payments", key) as client:
        return await client.post("/api/v1/payment/withdrawal", json=body, headers=headers)


async def asked(house: House, user: int, amount: Any = "10", to: str | None = None, **more: Any) -> int:
    """Ask for a withdrawal that is taken; return its number."""
    answer = await ask(house, user, amount, to, **more)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["withdrawal_id"])


async def read(house: House, withdrawal: int, key: str = "withdraw") -> dict[str, Any]:
    """Read a withdrawal, with the status of the answer."""
    async with house.client("payments", key) as client:
        answer = await client.get(f"/api/v1/payment/withdrawal/{withdrawal}")
    found: dict[str, Any] = answer.json() | {"http": answer.status_code}
    return found


async def decide(house: House, withdrawal: int, action: str, key: str) -> httpx.Response:
    """Approve or cancel a withdrawal with a key."""
    async with house.client("payments", key) as client:
        return await client.post(f"/api/v1/payment/withdrawal/{withdrawal}/{action}")


async def due(house: House) -> None:
    """Let no withdrawal wait for its turn."""
    await rows(house, "UPDATE withdrawal SET due_at = now() - interval '1 s'")


async def step(house: House) -> None:
    """Let every withdrawal take a step."""
    await due(house)
    await advance_withdrawals(parts_of(house))


async def settle(house: House, node: SandboxNode) -> None:
    """Take every withdrawal as far as it goes while the chain goes on."""
    for _ in range(3):
        await step(house)
        await node.settle()
        await scan_chain(parts_of(house), gateway_of(house))
    await step(house)
    await step(house)
    await post_bookings(parts_of(house))


async def on_chain(house: House, address: str) -> int:
    """Return the solid USDT of an address."""
    return await gateway_of(house).chain.balance(CONTRACT, address)


async def all_is_right(house: House) -> None:
    """Prove payments' invariants but for the deposits that this test gave without a chain."""
    found = await check_invariants(parts_of(house))
    wrong = {name: some for name, some in found["violations"].items() if some}
    given = [v for v in wrong.pop("credited_without_deposit", []) if not v["key"].startswith("test:")]
    assert (wrong, given) == ({}, [])
