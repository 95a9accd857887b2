"""Storing messages, sending them again, and how far they were read, on real PostgreSQL."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from chat.db import live, messages
from chat.domain.errors import ChatNotFound, ClientMsgIdTaken, NoDispute, ReadOnly
from chat.domain.live import Position
from chat.domain.model import Chat, Draft, Message, ReadMark, Role, Standing
from chat.use_cases.read_history import History
from chat.use_cases.store_messages import Writer
from common.clock import SystemClock
from common.errors import ServiceError
from support.chatting import ChatHouse

ALICE, BOB = 1, 2
CUSTOMER, PERFORMER, ARBITER = Role.CUSTOMER, Role.PERFORMER, Role.ARBITER


async def new_chat(house: ChatHouse, standing: Standing | None = None) -> Chat:
    chat = Chat(uuid4(), 7, 1, ALICE, BOB, standing or Standing("confirmed", None, 3))
    async with house.database.transaction() as connection:
        await messages.keep_chat(connection, chat)
    return chat


def writer_of(house: ChatHouse, broadcast: list[Message]) -> Writer:
    """Return a writer as another process has it, and keep what it broadcasts."""

    return Writer(house.database, SystemClock(), broadcast.extend)


async def store(writer: Writer, draft: Draft) -> Message:
    (answer,) = await writer.submit(draft)
    if isinstance(answer, ServiceError):
        raise answer
    return answer


async def stored(house: ChatHouse, chat: Chat) -> list[str]:
    page = await History(house.database).read(chat.id, Position())
    return [message.text for message in page.messages]


async def test_a_resend_is_answered_as_the_first_time_and_heard_once(chat_house: ChatHouse) -> None:
    chat, heard = await new_chat(chat_house), list[Message]()
    writer = writer_of(chat_house, heard)
    first = await store(writer, Draft(chat, ALICE, CUSTOMER, "hello", "n1"))
    again = await store(writer_of(chat_house, heard), Draft(chat, ALICE, CUSTOMER, "hello", "n1"))
    other = await store(writer, Draft(chat, BOB, PERFORMER, "hello", "n1"))

    assert again == first
    assert [m.seq for m in heard] == [1, 2]
    assert other.seq == 2


async def test_resends_that_race_over_many_processes_are_one_message(chat_house: ChatHouse) -> None:
    chat, heard = await new_chat(chat_house), list[Message]()
    writers = [writer_of(chat_house, heard) for _ in range(4)]
    drafts = [Draft(chat, ALICE, CUSTOMER, str(n), f"n{n}") for n in range(25) for _ in range(2)]

    answers = await asyncio.gather(*(store(w, d) for d in drafts for w in writers))

    assert len({m.id for m in answers}) == 25
    assert sorted(m.seq for m in heard) == list(range(1, 26))
    assert sorted(await stored(chat_house, chat)) == sorted(str(n) for n in range(25))


async def test_another_text_under_the_same_name_is_refused_alone(chat_house: ChatHouse) -> None:
    chat, heard = await new_chat(chat_house), list[Message]()
    writer = writer_of(chat_house, heard)
    await store(writer, Draft(chat, ALICE, CUSTOMER, "hello", "n1"))

    answers = await asyncio.gather(
        *(
            store(writer, draft)
            for draft in (
                Draft(chat, ALICE, CUSTOMER, "a"),
                Draft(chat, ALICE, CUSTOMER, "bye", "n1"),
                Draft(chat, ALICE, CUSTOMER, "b"),
            )
        ),
        return_exceptions=True,
    )

    assert isinstance(answers[1], ClientMsgIdTaken)
    assert await stored(chat_house, chat) == ["hello", "a", "b"]


async def test_a_chat_whose_deal_ended_long_ago_stores_nothing(chat_house: ChatHouse) -> None:
    ended = SystemClock().now() - timedelta(days=30)
    chat, heard = await new_chat(chat_house, Standing("close", ended, 4)), list[Message]()

    with pytest.raises(ReadOnly):
        await store(writer_of(chat_house, heard), Draft(chat, ALICE, CUSTOMER, "hello"))

    assert (await stored(chat_house, chat), heard) == ([], [])


async def test_a_chat_whose_row_is_gone_costs_its_neighbours_in_the_batch_nothing(chat_house: ChatHouse) -> None:
    """As where a database came back without its last moments."""
    chat, heard = await new_chat(chat_house), list[Message]()
    gone = Chat(uuid4(), 8, 1, ALICE, BOB)
    writer = writer_of(chat_house, heard)

    one, lost, two = await asyncio.gather(
        *(store(writer, Draft(c, ALICE, CUSTOMER, "x")) for c in (chat, gone, chat)), return_exceptions=True
    )

    assert isinstance(lost, ChatNotFound)
    assert [m.seq for m in (one, two) if isinstance(m, Message)] == [m.seq for m in heard] == [1, 2]
    assert await stored(chat_house, chat) == ["x", "x"]


async def test_an_arbiter_whose_dispute_is_over_stores_nothing(chat_house: ChatHouse) -> None:
    over = Standing("arb_close_customer", SystemClock().now(), 4)
    chat, heard = await new_chat(chat_house, over), list[Message]()

    with pytest.raises(NoDispute):
        await store(writer_of(chat_house, heard), Draft(chat, None, ARBITER, "one more thing"))

    assert (await stored(chat_house, chat), heard) == ([], [])


async def test_a_standing_never_goes_back(chat_house: ChatHouse) -> None:
    chat = await new_chat(chat_house, Standing("dispute", None, 5))
    async with chat_house.database.transaction() as connection:
        for standing in (Standing("confirmed", None, 4), Standing("close", SystemClock().now(), 5), Standing()):
            older = Chat(chat.id, 7, 1, ALICE, BOB, standing)
            await messages.keep_chat(connection, older)
            assert await messages.find_chat(connection, chat.id) == chat
        newer = Chat(chat.id, 7, 1, ALICE, BOB, Standing("arb_close_customer", SystemClock().now(), 6))
        await messages.keep_chat(connection, newer)
        assert await messages.find_chat(connection, chat.id) == newer


async def mark(house: ChatHouse, *marks: tuple[UUID, Role, int]) -> set[tuple[UUID, Role, int]]:
    async with house.database.transaction() as connection:
        moved = await live.mark_read(connection, [ReadMark(*one) for one in marks])
    return {(one.chat_id, one.role, one.seq) for one in moved}


async def test_a_mark_only_grows_and_never_above_the_last_message(chat_house: ChatHouse) -> None:
    one, other, heard = await new_chat(chat_house), await new_chat(chat_house), list[Message]()
    writer = writer_of(chat_house, heard)
    for _ in range(3):
        await store(writer, Draft(one, ALICE, CUSTOMER, "x"))
    await store(writer, Draft(other, ALICE, CUSTOMER, "x"))

    moved = [
        await mark(chat_house, (one.id, PERFORMER, 2), (one.id, PERFORMER, 1), (other.id, CUSTOMER, 1)),
        await mark(chat_house, (one.id, PERFORMER, 1), (one.id, ARBITER, 0), (uuid4(), CUSTOMER, 1)),
        await mark(chat_house, (one.id, PERFORMER, 99), (one.id, CUSTOMER, 1), (other.id, CUSTOMER, 1)),
    ]

    assert moved == [
        {(one.id, PERFORMER, 2), (other.id, CUSTOMER, 1)},
        set(),
        {(one.id, PERFORMER, 3), (one.id, CUSTOMER, 1)},
    ]
    async with chat_house.database.reading() as connection:
        states = {state.id: state for state in await live.states(connection, [one.id, other.id, uuid4()])}
    assert {state.id: (state.last_seq, dict(state.read_seqs)) for state in states.values()} == {
        one.id: (3, {CUSTOMER: 1, PERFORMER: 3, ARBITER: 0}),
        other.id: (1, {CUSTOMER: 1, PERFORMER: 0, ARBITER: 0}),
    }
    assert states[one.id].standing == Standing("confirmed", None, 3)


async def test_marks_and_messages_of_many_chats_never_wait_for_each_other_in_a_circle(
    chat_house: ChatHouse,
) -> None:
    chats, heard = [await new_chat(chat_house) for _ in range(40)], list[Message]()
    writer = writer_of(chat_house, heard)

    async def write() -> None:
        for _ in range(20):
            await asyncio.gather(*(store(writer, Draft(chat, ALICE, CUSTOMER, "x")) for chat in chats))

    async def read(*, backwards: bool) -> None:
        for seq in range(1, 21):
            marks = [(chat.id, PERFORMER, seq) for chat in chats]
            await mark(chat_house, *(reversed(marks) if backwards else marks))

    await asyncio.gather(write(), read(backwards=False), read(backwards=True))

    await mark(chat_house, *((chat.id, PERFORMER, 20) for chat in chats))
    async with chat_house.database.reading() as connection:
        states = await live.states(connection, [chat.id for chat in chats])
    assert {(state.last_seq, state.read_seqs[PERFORMER]) for state in states} == {(20, 20)}
