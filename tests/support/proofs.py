"""Proofs about a whole system at rest: users' money, the ledger, the events, the chain."""

import asyncio
import collections
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import nats
import orjson
from tronpy.keys import to_base58check_address

from garant_local.secrets import SERVICES
from garant_local.settings import ROOT
from support.client import Client, GaveUp
from support.stories import UNIT, Cast
from support.system import System

TRANSFER = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
USDT_HEX = "a614f803b6fd780986a42c78ec9c7f77e6ded13c"
HOLDING = frozenset({"confirm_performer", "confirmed", "dispute"})
PAID_OUT = frozenset({"close", "arb_close_performer"})
UNTOUCHED = frozenset({"created", "expired"})
"""A deal whose deadline passed before its answer came is asked for anew, with another deadline."""
WITH_INVARIANTS = ("accounts", "deals", "payments", "chat")
PAGE = 200
REST_S = 120.0
"""Longer than any lease, and the backoff after it."""


@dataclass(slots=True)
class Chain:
    """What the solid chain says of USDT, read by itself: the truth about what was paid."""

    client: Client
    height: int = 0
    received: "collections.Counter[str]" = field(default_factory=collections.Counter)
    sent: "collections.Counter[str]" = field(default_factory=collections.Counter)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> None:
        """Read the blocks that have become solid."""
        async with self.lock:
            await self._look()

    async def _look(self) -> None:
        head = await self.client.node("walletsolidity/getblock", detail=False)
        for number in range(self.height + 1, head["block_header"]["raw_data"].get("number", 0) + 1):
            for info in await self.client.node("walletsolidity/gettransactioninfobyblocknum", num=number):
                self._count(info)
            self.height = number

    def _count(self, info: dict[str, Any]) -> None:
        for entry in info.get("log", []):
            topics = entry.get("topics", [])
            if entry["address"] == USDT_HEX and len(topics) == 3 and topics[0] == TRANSFER:
                sender, recipient = (to_base58check_address("41" + t[-40:]) for t in topics[1:])
                self.sent[sender] += int(entry["data"], 16)
                self.received[recipient] += int(entry["data"], 16)


async def wrong_with(cast: Cast, chain: Chain) -> list[str]:
    """Return what is not yet as it must be when a story has come to its end."""
    await chain.look()
    deals = await _deals_of(cast)
    wrong = [f"deal {d['deal_id']} has {d['pending']} in flight" for d in deals.values() if d["pending"]]
    for deal_id, told in cast.deals.items():
        if deals[deal_id]["status"] not in told.ends:
            wrong.append(f"deal {deal_id} is {deals[deal_id]['status']}, not {', '.join(sorted(told.ends))}")
    strays = [d for i, d in deals.items() if i not in cast.deals]
    wrong += [f"nobody was told of {d}" for d in strays if not (d["deadline_at"] and d["status"] in UNTOUCHED)]
    for payment_id in cast.paid:
        payment = await cast.expect("GET", f"/payment/{payment_id}")
        came = chain.received[payment["gateway_data"]["address"]] > 0
        if payment["status"] != ("success" if came else "waiting"):
            wrong.append(f"payment {payment_id} is {payment['status']} with {payment['received_amount']}")
    return wrong + await _wrong_balances(cast, chain, {i: d["status"] for i, d in deals.items()})


async def _deals_of(cast: Cast) -> dict[int, dict[str, Any]]:
    found = await cast.expect("GET", f"/deal/?customer_id={cast.customer}&limit={PAGE}")
    assert found["next_cursor"] is None
    return {deal["deal_id"]: deal for deal in found["items"]}


async def _wrong_balances(cast: Cast, chain: Chain, statuses: dict[int, str]) -> list[str]:
    spent = sum(t.price for i, t in cast.deals.items() if statuses[i] in HOLDING | PAID_OUT)
    earned = sum(t.price for i, t in cast.deals.items() if statuses[i] in PAID_OUT)
    deposited = sum(chain.received[address] for address in cast.addresses)
    expected = {cast.customer: deposited - spent - sum(cast.withdrawn.values()), cast.performer: earned}
    found = {user: await cast.balance(user) for user in expected}
    unpaid = [f"{a} got {chain.received[a]}, not {n}" for a, n in cast.withdrawn.items() if chain.received[a] != n]
    return unpaid + [
        f"user {user} has {found[user] / UNIT}, not {units / UNIT}"
        for user, units in expected.items()
        if found[user] != units
    ]


async def until_at_rest(cast: Cast, chain: Chain, within_s: float) -> None:
    """Wait until a story is at its end, with every unit where it belongs.

    Raises:
        GaveUp: when it is not in time; the text says what is wrong.
    """

    async def wrong() -> list[str]:
        return await wrong_with(cast, chain)

    await cast.client.until("the end of the story", wrong, lambda found: not found, within_s)


async def prove(client: Client, chain: Chain, *, told_once: bool = True) -> list[str]:
    """Return what does not hold of the whole system, whose stories are at their end.

    Work that a dead process had leased is first waited for: it is done once its lease is over.

    Args:
        told_once: whether the broker may hold no event twice; it may where one was told again after a while.
    """
    wrong = list(client.broken)
    try:
        await client.until(
            "all work to be done", lambda: _unfinished(client.system), lambda found: not found, REST_S
        )
    except GaveUp as error:
        wrong.append(str(error))
    for name in WITH_INVARIANTS:
        wrong += await _invariants(client, name)
    wrong += await asyncio.to_thread(_verify, client.system)
    wrong += await asyncio.to_thread(_reconcile, client.system)
    wrong += await _wrong_totals(client.system, chain)
    return wrong + await _wrong_events(client.system, told_once=told_once)


async def _invariants(client: Client, name: str) -> list[str]:
    headers = {"authorization": f"Bearer {client.system.secrets['operator']}"}
    answer = await client.http.get(f"{client.system.url(name)}/internal/v1/invariants", headers=headers)
    held = answer.status_code == 200 and answer.json()["ok"]
    return [] if held else [f"invariants of {name}: {answer.status_code} {answer.text}"]


def _verify(system: System) -> list[str]:
    environment = {**os.environ, **system.environment}
    done = subprocess.run(
        [sys.executable, "-m", "accounts", "verify"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    return [] if done.returncode == 0 else [f"accounts verify: {done.stdout}{done.stderr}"]


def _reconcile(system: System) -> list[str]:
    """Compare the chain with the books and the ledger, wallet by wallet and in all (invariant 4)."""
    done = system.payments_command("reconcile", "--all")
    return [] if done.returncode == 0 else [f"payments reconcile: {done.stdout}{done.stderr}"]


async def _value(system: System, service: str, query: str) -> Any:
    connection = await asyncpg.connect(system.environment[f"{service.upper()}_DATABASE_URL"], timeout=5)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _unfinished(system: System) -> list[str]:
    queries = [
        ("deals", "commands in flight", "SELECT count(*) FROM money_command WHERE state = 'pending'"),
        ("deals", "funding passes that are due", "SELECT count(*) FROM funding WHERE wanted > done"),
        ("payments", "sweeps under way", "SELECT count(*) FROM sweep WHERE step <> 'swept'"),
        (
            "payments",
            "deposits not applied",
            "SELECT count(*) FROM transfer WHERE class = 'deposit' AND applied_at IS NULL",
        ),
        ("payments", "bookings not applied", "SELECT count(*) FROM booking WHERE applied_at IS NULL"),
        (
            "payments",
            "withdrawals under way",
            "SELECT count(*) FROM withdrawal WHERE status NOT IN ('success', 'failed', 'rejected', 'cancelled')",
        ),
        ("payments", "unexplained transfers", "SELECT count(*) FROM transfer WHERE class = 'unexplained'"),
        *((s, "events to publish", "SELECT count(*) FROM outbox WHERE published_at IS NULL") for s in SERVICES),
    ]
    found = [(service, what, await _value(system, service, query)) for service, what, query in queries]
    return [f"{service}: {count} {what}" for service, what, count in found if count]


async def _wrong_totals(system: System, chain: Chain) -> list[str]:
    """Compare chain, deposits, and what users have and deals hold."""
    wallets = orjson.loads(
        await _value(system, "payments", "SELECT coalesce(json_agg(address), '[]') FROM wallet")
    )
    swept = int(
        await _value(system, "payments", "SELECT coalesce(sum(amount), 0) FROM sweep WHERE currency = 'USDT'")
    )
    in_ledger = int(
        await _value(
            system,
            "accounts",
            "SELECT coalesce(sum(balance), 0) FROM account"
            " WHERE kind IN ('user', 'deal', 'withdrawal') AND currency = 'USDT'",
        )
    )
    in_ledger += int(
        await _value(
            system,
            "payments",
            "SELECT coalesce(sum(amount), 0) FROM withdrawal WHERE status = 'success' AND currency = 'USDT'",
        )
    )
    on_chain = sum(chain.received[address] for address in wallets)
    sent = sum(chain.sent[address] for address in wallets)
    totals = {
        "on chain": on_chain,
        "in the ledger and paid out": in_ledger,
        "swept": swept,
        "sent to the main wallet": sent,
    }
    return [] if len(set(totals.values())) == 1 else [f"totals differ: {totals}"]


async def _wrong_events(system: System, *, told_once: bool) -> list[str]:
    wrong = []
    client = await nats.connect(system.environment["NATS_URL"])
    try:
        for service in SERVICES:
            rows = orjson.loads(
                await _value(system, service, "SELECT coalesce(json_agg(envelope), '[]') FROM outbox")
            )
            heard = [event async for event in _stream(client, service.upper())]
            wrong += [f"{service}: {text}" for text in _compare(rows, heard, told_once=told_once)]
    finally:
        await client.close()
    return wrong


async def _stream(client: Any, stream: str) -> AsyncIterator[dict[str, Any]]:
    if (await client.jetstream().stream_info(stream)).state.messages == 0:
        return
    subscription = await client.jetstream().subscribe(">", stream=stream, ordered_consumer=True)
    async for message in subscription.messages:
        if message.headers and "Nats-Msg-Id" in message.headers:  # else a stranger said it
            yield orjson.loads(message.data)
        if message.metadata.num_pending == 0:
            break
    await subscription.unsubscribe()


def _compare(rows: Sequence[dict[str, Any]], heard: Sequence[dict[str, Any]], *, told_once: bool) -> list[str]:
    stored = {row["id"]: row for row in rows}
    facts = collections.Counter((row["aggregate"], row["aggregate_version"]) for row in rows)
    times = collections.Counter(event["id"] for event in heard)
    return [
        *(f"{fact} was told {count} times" for fact, count in facts.items() if count > 1),
        *(f"event {row['id']} {row['type']} was never heard" for row in rows if row["id"] not in times),
        *(f"event {e['id']} was heard with another body" for e in heard if stored.get(e["id"]) != e),
        *(f"event {i} was heard {n} times" for i, n in times.items() if told_once and n > 1),
    ]
