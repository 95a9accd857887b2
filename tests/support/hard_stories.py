"""Stories in which a part of the system sleeps or lies, and one told through the chat."""

import asyncio

import asyncpg
import httpx
from socketio.exceptions import SocketIOError

from support.chatting import Listener, Refused, leave, listen
from support.client import GaveUp
from support.event_stories import garble, lose
from support.operator_stories import reopen, rescan, stake
from support.stories import DEPOSIT, STORIES, UNIT, Cast, Story
from support.system import stopped

STOP_S = 8.0
"""Longer than deals waits for accounts."""
DEAD_WITHIN_S = 150.0
"""A transaction lives for a minute of the chain's time, and is looked at every few seconds."""
WORDS = ("Hello Bob", "Nearly done!", "Lovely, thank you.")
SAY_WITHIN_S = 5.0
TRIES = 60


async def cancel_in_flight(cast: Cast) -> None:
    """Accounts sleeps while a hold is asked for, and the deal is cancelled meanwhile."""
    deal_id = await cast.deal("cancelled", "confirm_performer")
    with stopped(cast.client.system, "accounts"):
        cast.arm()
        asking = [await _asked_for(cast, deal_id, action) for action in ("confirm", "cancel")]
    await asyncio.gather(*asking)
    await cast.act(deal_id, "cancel", refusable=True)
    await cast.until(deal_id, "cancelled", "confirm_performer")


async def _asked_for(cast: Cast, deal_id: int, action: str) -> "asyncio.Task[httpx.Response]":
    """Ask for an action, and return when it was answered, or when deals has waited for accounts in vain."""
    asking = asyncio.create_task(cast.client.ask("POST", f"/deal/{deal_id}/{action}"))
    await asyncio.wait({asking}, timeout=STOP_S)
    return asking


async def miss_credit(cast: Cast) -> None:
    """NATS sleeps, so nothing tells of a deposit: it is credited all the same."""
    address = await cast.payment(DEPOSIT)
    with stopped(cast.client.system, "nats"):
        cast.arm()
        await cast.send(address, DEPOSIT)
        await cast.client.until(
            "the credit without events", lambda: cast.balance(cast.customer), lambda b: b == DEPOSIT * UNIT
        )


async def bury(cast: Cast) -> None:
    """The node loses every transaction of a sweep until they are dead; then it is well again."""
    await cast.client.node("admin/faults", endpoint="wallet/broadcasthex", kind="drop_before", count=10**9)
    try:
        cast.arm()
        await cast.pay(DEPOSIT)
        await cast.client.until(
            "a dead transaction", lambda: _dead(cast), lambda count: count > 0, within_s=DEAD_WITHIN_S
        )
    finally:
        await cast.client.node("admin/faults", clear=True)


async def _dead(cast: Cast) -> int:
    connection = await asyncpg.connect(cast.client.system.environment["PAYMENTS_DATABASE_URL"], timeout=5)
    try:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM outgoing o JOIN sweep s ON s.id = o.sweep_id JOIN wallet w ON w.id = s.wallet_id"
            " WHERE o.state = 'dead' AND w.user_id = $1",
            cast.customer,
        )
        return found
    finally:
        await connection.close()


async def talk(cast: Cast) -> None:
    """The customer speaks in the deal's chat, again where no answer came: what was acknowledged is there."""
    deal_id = await cast.deal("created")
    chat_id = (await cast.read(deal_id))["chat_id"]
    cast.arm()
    told = {await _say(cast, chat_id, text): text for text in WORDS}
    listener = await _entered(cast, chat_id)
    try:
        await listener.until(max(told))
        found = {m["seq"]: m["message"] for m in listener.heard}
    finally:
        await leave(listener.client)
    assert list(found) == list(range(1, len(found) + 1)), "the history is in order, without a gap"
    assert {seq: found[seq] for seq in told} == told
    assert set(found.values()) == set(WORDS), "nobody said anything else"


async def _entered(cast: Cast, chat_id: str) -> Listener:
    for _ in range(TRIES):
        try:
            return await listen(cast.client.system.environment["GATEWAY_URL"], chat_id)
        except Refused as error:
            refused = error
            await asyncio.sleep(0.5)
    raise GaveUp(f"chat {chat_id}") from refused


async def _say(cast: Cast, chat_id: str, text: str) -> int:
    """Say something until it is acknowledged; return its place."""
    for _ in range(TRIES):
        listener = await _entered(cast, chat_id)
        try:
            async with asyncio.timeout(SAY_WITHIN_S):
                answer = await listener.say(cast.customer, text)
            if "seq" in answer:
                return int(answer["seq"])
        except (TimeoutError, SocketIOError):
            continue
        finally:
            await leave(listener.client)
    raise GaveUp(f"saying {text!r} in chat {chat_id}")


STORIES_OF_ALL_KINDS = STORIES | {
    "cancel_in_flight": Story(cancel_in_flight, with_money=True),
    "miss_credit": Story(miss_credit),
    "talk": Story(talk),
    "garble": Story(garble),
    "lose": Story(lose, slow=True),
    "bury": Story(bury, slow=True, alone=True),
    "stake": Story(stake, alone=True, command=True),
    "rescan": Story(rescan, with_money=True, command=True),
    "reopen": Story(reopen, alone=True),
}
