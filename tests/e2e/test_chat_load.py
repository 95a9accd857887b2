"""The load that the mission names: 20 cycles a second of connecting, 5 to 10 messages and leaving."""

import asyncio
import random
import secrets

import pytest

from support.chatting import listen
from support.system import System

RATE = 20
"""Cycles a second."""


async def _new_chat(system: System) -> tuple[str, int, int]:
    """Return a new chat's id and its two users."""
    users = []
    for name in ("Alice", "Bob"):
        body = {"name": name, "external_id": secrets.randbelow(2**60) + 1}
        users.append((await system.call("POST", "/user/", body)).json()["id"])
    body = {"title": "t", "description": "d", "price": "1", "customer_id": users[0], "performer_id": users[1]}
    return (await system.call("POST", "/deal/", body)).json()["chat_id"], users[0], users[1]


async def _cycle(system: System, chat_id: str, user: int, seed: int) -> int:
    """Connect, say 5 to 10 things, hear each of them once and in order, leave; return how many."""
    dice = random.Random(seed)
    listener = await listen(system.environment["GATEWAY_URL"], chat_id)
    try:
        mine = [(await listener.say(user, f"{seed}"))["seq"] for _ in range(dice.randint(5, 10))]
        seqs = await listener.until(mine[-1])
        assert seqs == list(range(1, len(seqs) + 1))
        return len(mine)
    finally:
        await listener.client.disconnect()


async def _load(system: System, seconds: int) -> tuple[int, int]:
    chats = [await _new_chat(system) for _ in range(10)]
    tasks: list[asyncio.Task[int]] = []
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(RATE * seconds):
        await asyncio.sleep(max(0.0, begun + number / RATE - loop.time()))
        # A new chat for every ten cycles keeps the history at the length of a real one.
        if number % 10 == 0:
            chats[(number // 10) % 10] = await _new_chat(system)
        chat_id, customer, performer = chats[(number // 10) % 10]
        user = customer if number % 2 else performer
        tasks.append(asyncio.create_task(_cycle(system, chat_id, user, number)))
    counts = await asyncio.gather(*tasks)
    return len(counts), sum(counts)


@pytest.mark.timeout(120)
async def test_the_named_load_loses_doubles_and_reorders_nothing(system: System) -> None:
    cycles, messages = await _load(system, 5)
    assert cycles == 5 * RATE
    assert messages >= 5 * cycles


@pytest.mark.deep
@pytest.mark.timeout(300)
async def test_the_named_load_for_its_full_time(system: System) -> None:
    cycles, _ = await _load(system, 30)
    assert cycles == 30 * RATE
