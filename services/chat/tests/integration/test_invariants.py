"""What a pass over the sequences finds, and what it costs."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from chat.db import invariants
from chat.domain import turns
from chat.domain.turns import Turn
from chat.use_cases.check_invariants import check_invariants
from common.clock import SystemClock
from support.chatting import ChatHouse
from support.counted_rows import as_if_large, rows_read
from support.wires import At

OTHERS = Turn(UUID(int=1), UUID(int=1))
"""The turn of no chat that there is."""
LATE = datetime.now(UTC) + timedelta(days=2)


async def with_messages(house: ChatHouse, count: int) -> str:
    """Make a chat with messages, two days before `LATE`; return its id."""
    chat_id, _, _, _ = await house.chat()
    await house.house.execute(
        "chat",
        "INSERT INTO chat (id, deal_id, tenant_id, customer_id, performer_id, last_seq, told_seq)"
        f" VALUES ('{chat_id}', 1, 1, 1, 2, {count}, {count});"
        "INSERT INTO message (chat_id, seq, user_id, role, text, created_at)"
        f" SELECT '{chat_id}', n, 1, 'customer', 'x', now() FROM generate_series(1, {count}) n",
    )
    return chat_id


async def gaps(house: ChatHouse, turn: Turn) -> list[dict[str, Any]]:
    async with house.database.snapshot() as connection:
        return (await invariants.check(connection, turn, LATE))["seq_without_gaps"]


@pytest.mark.parametrize(
    ("lost", "found"),
    [("1", (9, 10)), ("5", (9, 10)), ("10", (9, 9)), ("5, 6, 10", (7, 9))],
)
async def test_a_gap_is_found_when_it_is_the_chats_turn(
    chat_house: ChatHouse, monkeypatch: pytest.MonkeyPatch, lost: str, found: tuple[int, int]
) -> None:
    monkeypatch.setattr(invariants, "NEWEST", 5)
    chat_id = await with_messages(chat_house, 10)
    whole = await with_messages(chat_house, 10)
    own = Turn(UUID(chat_id), UUID(chat_id))

    await chat_house.house.execute("chat", f"DELETE FROM message WHERE chat_id = '{chat_id}' AND seq IN ({lost})")

    violation = {"chat_id": chat_id, "last_seq": 10, "messages": found[0], "top": found[1]}
    assert await gaps(chat_house, own) == [violation]
    assert await gaps(chat_house, OTHERS) == [], "the newest messages are another chat's"
    assert await gaps(chat_house, Turn(UUID(whole), UUID(whole))) == []


async def test_a_gap_among_the_newest_is_found_in_every_pass(chat_house: ChatHouse) -> None:
    chat_id = await with_messages(chat_house, 10)
    assert await gaps(chat_house, OTHERS) == []

    await chat_house.house.execute("chat", f"DELETE FROM message WHERE chat_id = '{chat_id}' AND seq = 7")

    assert [one["chat_id"] for one in await gaps(chat_house, OTHERS)] == [chat_id]


async def test_every_chat_of_a_large_table_comes_to_its_turn(
    chat_house: ChatHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariants, "NEWEST", 0)
    monkeypatch.setattr(turns, "MESSAGES", 10)
    chats = [await with_messages(chat_house, 10) for _ in range(5)]
    await chat_house.house.execute("chat", "ANALYZE message; UPDATE chat SET last_seq = 11, told_seq = 11")

    found: list[str] = []
    for number in range(6):
        looked = At(LATE + number * turns.LASTS)
        violations = (await check_invariants(chat_house.database, looked, []))["violations"]
        found += [one["chat_id"] for one in violations["seq_without_gaps"]]

    assert sorted(found) == sorted(chats), "each of them once"


async def test_a_pass_costs_the_same_however_long_the_history_is(
    chat_house: ChatHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariants, "NEWEST", 10)
    databases = chat_house.house.databases

    async def cost() -> int:
        before = await rows_read(databases, "chat", chat_house.database)
        await gaps(chat_house, OTHERS)
        after = await rows_read(databases, "chat", chat_house.database)
        return after["message"] - before["message"]

    async with as_if_large(databases, "chat"):
        await with_messages(chat_house, 100)
        short = await cost()
        for _ in range(4):
            await with_messages(chat_house, 500)
        long = await cost()

    assert 10 <= short <= 20
    assert long <= 20


async def test_what_is_whole_is_no_violation(chat_house: ChatHouse) -> None:
    chat_id, alice, _, _ = await chat_house.chat()
    listener = await chat_house.listen(chat_id)
    for number in range(5):
        await listener.say(alice, str(number))

    violations = (await check_invariants(chat_house.database, SystemClock(), []))["violations"]

    assert violations["seq_without_gaps"] == []
