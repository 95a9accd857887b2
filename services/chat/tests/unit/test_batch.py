"""What becomes of a batch of messages, without IO."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from chat.domain.batch import Batch, Locked, Name, number
from chat.domain.model import UNTOLD, Chat, Draft, Message, Role, Standing

CHAT = Chat(UUID(int=1), 7, 1, customer_id=1, performer_id=2)
OTHER = Chat(UUID(int=2), 8, 1, customer_id=1, performer_id=3)
ENDED = Chat(UUID(int=3), 9, 1, customer_id=1, performer_id=2)
GONE = Chat(UUID(int=4), 10, 1, customer_id=1, performer_id=2)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CHATS = {
    CHAT.id: Locked(10, UNTOLD),
    OTHER.id: Locked(0, Standing("dispute", None, 3)),
    ENDED.id: Locked(5, Standing("close", NOW - DAY, 4)),
}
STORED = Message(77, CHAT.id, 4, 1, Role.CUSTOMER, "hello", NOW)
KNOWN: dict[Name, Message] = {(CHAT.id, 1, "stored"): STORED}


def said(text: str, name: str | None = None, chat: Chat = CHAT, user: int | None = 1) -> Draft:
    role = chat.role_of(user) if user is not None else Role.ARBITER
    assert role is not None
    return Draft(chat, user, role, text, name)


def settle(*drafts: Draft) -> tuple[Batch, list[int | str]]:
    """Return the batch, and for each draft its number, the id of what is stored, or the code of its refusal."""
    batch = number(drafts, CHATS, KNOWN, NOW, DAY)
    stored = [Message(100 + n.seq, n.draft.chat.id, n.seq, 1, n.draft.role, n.draft.text, NOW) for n in batch.new]
    answers = batch.answered(stored)
    return batch, [a.id if isinstance(a, Message) else getattr(a, "code", "") for a in answers]


def test_new_messages_are_numbered_by_chat_in_their_order() -> None:
    batch, answers = settle(said("a"), said("b", chat=OTHER), said("c"))

    assert [(n.draft.text, n.seq) for n in batch.new] == [("a", 11), ("b", 1), ("c", 12)]
    assert batch.last_seqs == {CHAT.id: 12, OTHER.id: 1}
    assert answers == [111, 101, 112]


def test_what_is_stored_already_is_answered_and_not_numbered() -> None:
    batch, answers = settle(said("hello", "stored"), said("hello"), said("hello", "stored"))

    assert [n.seq for n in batch.new] == [11]
    assert answers == [77, 111, 77]


def test_a_name_that_comes_twice_in_a_batch_is_one_message() -> None:
    batch, answers = settle(said("a", "x"), said("b"), said("a", "x"))

    assert [(n.draft.text, n.seq) for n in batch.new] == [("a", 11), ("b", 12)]
    assert answers == [111, 112, 111]


def test_a_name_belongs_to_its_author_and_chat() -> None:
    _, answers = settle(said("a", "x"), said("b", "x", user=2), said("c", "x", OTHER), said("d", "x", OTHER, None))

    assert answers == [111, 112, 101, 102]


def test_another_text_under_a_name_is_refused_alone() -> None:
    batch, answers = settle(said("a", "x"), said("bye", "stored"), said("b", "x"), said("c"))

    assert answers == [111, "client_msg_id_taken", "client_msg_id_taken", 112]
    assert [n.draft.text for n in batch.new] == ["a", "c"]


def test_nobody_writes_long_after_the_end_and_an_arbiter_in_a_dispute_alone() -> None:
    batch, answers = settle(said("late", chat=ENDED), said("a", user=None), said("b", chat=OTHER, user=None))

    assert answers == ["read_only", "no_dispute", 101]
    assert batch.last_seqs == {OTHER.id: 1}


def test_what_was_stored_in_time_is_answered_when_it_comes_again_too_late() -> None:
    stored = Message(5, ENDED.id, 5, 1, Role.CUSTOMER, "bye", NOW - DAY)
    batch = number([said("bye", "n", ENDED)], CHATS, {(ENDED.id, 1, "n"): stored}, NOW, DAY)

    assert batch.answered([]) == [stored]


def test_a_chat_that_is_gone_is_refused_alone() -> None:
    batch, answers = settle(said("a"), said("b", chat=GONE), said("c", "x", chat=GONE), said("d", chat=OTHER))

    assert answers == [111, "chat_not_found", "chat_not_found", 101]
    assert batch.last_seqs == {CHAT.id: 11, OTHER.id: 1}
