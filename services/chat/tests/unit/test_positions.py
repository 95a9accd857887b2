"""What a client says it has and has read, without IO."""

from typing import Any
from uuid import UUID

import pytest

from chat.domain.errors import MessageIgnored, NotAParty
from chat.domain.live import Page, Position, position, read_mark
from chat.domain.model import UNTOLD, Admission, Chat, ChatState, Claims, ReadMark, Role
from common.errors import InvalidInput

CHAT = Chat(UUID(int=1), 7, 1, customer_id=1, performer_id=2)
ANYBODY = Admission(CHAT, Claims(CHAT.id))
ALICE = Admission(CHAT, Claims(CHAT.id, Role.CUSTOMER, 1))
ARBITER = Admission(CHAT, Claims(CHAT.id, Role.ARBITER))


@pytest.mark.parametrize(
    ("auth", "found"),
    [
        ({}, Position(0, 0)),
        ({"token": "x", "after_seq": 5}, Position(5, 0)),
        ({"after_system_seq": 3}, Position(0, 3)),
        ({"after_seq": 2**63 - 1, "after_system_seq": 0}, Position(2**63 - 1, 0)),
    ],
)
def test_what_a_client_has(auth: dict[str, Any], found: Position) -> None:
    assert position(auth) == found


@pytest.mark.parametrize("name", ["after_seq", "after_system_seq"])
@pytest.mark.parametrize("wrong", [-1, 2**63, 1.0, "1", None, True, [1], {}])
def test_what_is_no_position_is_refused_by_its_name(name: str, wrong: Any) -> None:
    with pytest.raises(InvalidInput, match=f"{name} must be a whole number"):
        position({name: wrong})


def test_who_says_that_it_has_more_than_there_is_has_what_there_is() -> None:
    page = Page(ChatState(CHAT.id, 4, 2, {}, UNTOLD), (), (), more=False)

    assert page.end(Position(9, 9)) == Position(4, 2)
    assert page.end(Position(3, 1)) == Position(3, 1)


@pytest.mark.parametrize(
    ("admission", "payload", "role"),
    [
        (ALICE, {"seq": 3}, Role.CUSTOMER),
        (ALICE, {"seq": 3, "user_id": 1}, Role.CUSTOMER),
        (ARBITER, {"seq": 3}, Role.ARBITER),
        (ANYBODY, {"seq": 3, "user_id": 1}, Role.CUSTOMER),
        (ANYBODY, {"seq": 3, "user_id": 2}, Role.PERFORMER),
    ],
)
def test_whose_mark_it_is(admission: Admission, payload: Any, role: Role) -> None:
    assert read_mark(admission, payload) == ReadMark(CHAT.id, role, 3)


@pytest.mark.parametrize(
    "payload",
    [None, 3, "3", [3], {}, {"seq": 0}, {"seq": -1}, {"seq": True}, {"seq": "3"}, {"seq": 1.0}, {"seq": 2**63}],
)
def test_what_is_no_mark_is_ignored(payload: Any) -> None:
    with pytest.raises(MessageIgnored) as ignored:
        read_mark(ALICE, payload)
    assert ignored.value.code == "invalid_message"


@pytest.mark.parametrize(
    ("admission", "user_id"),
    [(ALICE, 2), (ALICE, None), (ARBITER, 1), (ANYBODY, 3), (ANYBODY, None), (ANYBODY, True)],
)
def test_nobody_reads_for_somebody_else(admission: Admission, user_id: Any) -> None:
    with pytest.raises(NotAParty):
        read_mark(admission, {"seq": 3, "user_id": user_id})
