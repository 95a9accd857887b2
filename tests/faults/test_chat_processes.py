"""Three processes of the chat: whatever dies, every client ends with the list that the database has."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator

import pytest

from support.chat_processes import CUSTOMER, PERFORMER, ChatProcesses, Roamer, chat_processes
from support.chatting import listen
from support.servers import Databases
from support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

CHATS, CLIENTS = 3, 4
"""Clients of each chat; an even one is the customer's."""


@pytest.fixture
async def processes(migrated: Databases) -> AsyncIterator[ChatProcesses]:
    async with chat_processes(migrated) as found:
        yield found


async def wreck(house: ChatProcesses, dice: random.Random) -> None:
    """Kill a process, restart the broker, kill another process at its worst moment, each amid the talk."""
    for blow in dice.sample(["process", "broker", "crash"], 3):
        await asyncio.sleep(dice.uniform(0.5, 1.5))  # the talk goes on meanwhile; nothing is awaited but time
        victim = house.processes[dice.randrange(len(house.processes))]
        if blow == "broker":
            await house.nats.stop(signal.SIGKILL)
            await asyncio.sleep(dice.uniform(0.2, 2.0))
            await house.nats.start()
        elif blow == "process":
            await victim.stop(signal.SIGKILL)
            await victim.start()
        else:
            house.crash_file.write_text("chat messages.stored")
            await eventually(house.dead)
            for process in await house.dead():
                await process.start()


async def test_every_client_ends_with_the_list_of_the_database(
    processes: ChatProcesses, rng: random.Random
) -> None:
    chats = [await processes.new_chat() for _ in range(CHATS)]
    roamers = [
        Roamer(processes, chat_id, (CUSTOMER, PERFORMER)[n % 2], random.Random(rng.random()))
        for chat_id in chats
        for n in range(CLIENTS)
    ]
    stop = asyncio.Event()
    roaming = [asyncio.create_task(roamer.roam(stop)) for roamer in roamers]
    await wreck(processes, rng)
    stop.set()
    await asyncio.gather(*roaming)

    joins = messages = 0
    for chat_id in chats:
        stored = await processes.stored(chat_id)
        messages += len(stored)
        assert [seq for seq, _ in stored] == list(range(1, len(stored) + 1))
        here = [roamer for roamer in roamers if roamer.chat_id == chat_id]
        for roamer in here:
            await roamer.until(len(stored))
            joins += roamer.joins
            assert roamer.heard == stored
        acked = [ack for roamer in here for ack in roamer.acked.values()]
        assert sorted(acked) == stored  # each was stored once, however often it was sent
    print(f"{joins} joins, {messages} messages, {len(roamers)} clients")


async def test_a_last_message_whose_process_died_before_it_told_is_heard(processes: ChatProcesses) -> None:
    chat_id = await processes.new_chat()
    here, there = processes.urls[0], processes.urls[1]
    listeners = [await listen(here, chat_id), await listen(there, chat_id)]
    try:
        await listeners[0].say(CUSTOMER, "heard")
        await listeners[1].until(1)
        processes.crash_file.write_text("chat messages.stored")
        await listeners[0].client.emit("message", {"user_id": CUSTOMER, "message": "stored and never told"})
        await asyncio.wait_for(listeners[0].closed.wait(), 20)

        assert await listeners[1].until(2) == [1, 2]  # nothing follows that would show the gap
    finally:
        for listener in listeners:
            await listener.client.shutdown()


async def test_while_the_broker_is_away_all_is_heard_a_little_later_and_readiness_says_so(
    processes: ChatProcesses,
) -> None:
    chat_id = await processes.new_chat()
    listeners = [await listen(url, chat_id) for url in processes.urls[:2]]

    async def unready() -> bool:
        return "rooms" in (await processes.ready(0))["failed"]

    try:
        await processes.nats.stop(signal.SIGKILL)
        await eventually(unready)
        for number in range(3):
            await listeners[number % 2].say(CUSTOMER, f"without a broker {number}")
        late = await listen(processes.urls[2], chat_id)
        listeners.append(late)
        for listener in listeners:
            assert await listener.until(3) == [1, 2, 3]

        await processes.nats.start()
        await eventually(lambda: processes.ready(0), lambda found: bool(found["ready"]), within_s=30)
        await listeners[0].say(CUSTOMER, "it is back")
        for listener in listeners:
            assert await listener.until(4) == [1, 2, 3, 4]
    finally:
        for listener in listeners:
            await listener.client.shutdown()
