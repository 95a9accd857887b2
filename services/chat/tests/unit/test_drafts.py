"""Which messages are taken, without IO."""

from typing import Any
from uuid import UUID

import pytest

from chat.domain.errors import MessageIgnored, NotAParty
from chat.domain.model import Admission, Chat, Claims, Role, draft

CHAT = Chat(UUID(int=1), 7, 1, customer_id=1, performer_id=2)
ANYBODY = Admission(CHAT, Claims(CHAT.id))
ALICE = Admission(CHAT, Claims(CHAT.id, Role.CUSTOMER, 1))
ARBITER = Admission(CHAT, Claims(CHAT.id, Role.ARBITER))


@pytest.mark.parametrize(
    ("admission", "payload", "role"),
    [
        (ANYBODY, {"user_id": 1, "message": "hello"}, Role.CUSTOMER),
        (ANYBODY, {"user_id": 2, "message": " "}, Role.PERFORMER),
        (ALICE, {"user_id": 1, "message": "x" * 4000}, Role.CUSTOMER),
        (ALICE, {"user_id": 1, "message": "ü€😀"}, Role.CUSTOMER),
        (ARBITER, {"message": "hear hear"}, Role.ARBITER),
        (ARBITER, {"user_id": None, "message": "hear hear"}, Role.ARBITER),
    ],
)
def test_what_is_taken(admission: Admission, payload: Any, role: Role) -> None:
    taken = draft(admission, payload)

    assert (taken.role, taken.text, taken.user_id) == (role, payload["message"], payload.get("user_id"))


@pytest.mark.parametrize(
    "payload",
    [
        None,
        5,
        "hello",
        [],
        {},
        {"user_id": 1},
        {"message": "hello"},
        {"user_id": 1, "message": ""},
        {"user_id": 1, "message": "x" * 4001},
        {"user_id": 1, "message": 5},
        {"user_id": 1, "message": None},
        {"user_id": 1, "message": b"bytes"},
        {"user_id": 1, "message": "a\x00b"},
        {"user_id": 1, "message": "\ud800"},
        {"user_id": "1", "message": "hello"},
        {"user_id": True, "message": "hello"},
        {"user_id": 1.0, "message": "hello"},
        {"user_id": 0, "message": "hello"},
        {"user_id": 2**63, "message": "hello"},
        {"user_id": 1, "message": "hello", "client_msg_id": ""},
        {"user_id": 1, "message": "hello", "client_msg_id": "x" * 65},
        {"user_id": 1, "message": "hello", "client_msg_id": 5},
        {"user_id": 1, "message": "hello", "client_msg_id": "a\nb"},
        {"user_id": 1, "message": "hello", "client_msg_id": "\udc00"},
    ],
)
def test_what_does_not_fit_is_ignored(payload: Any) -> None:
    with pytest.raises(MessageIgnored) as ignored:
        draft(ALICE, payload)
    assert ignored.value.code == "invalid_message"


@pytest.mark.parametrize(
    ("admission", "user_id"), [(ANYBODY, 3), (ALICE, 2), (ALICE, 3), (ARBITER, 1), (ARBITER, 3)]
)
def test_nobody_writes_as_somebody_else(admission: Admission, user_id: int) -> None:
    with pytest.raises(NotAParty):
        draft(admission, {"user_id": user_id, "message": "hello"})


@pytest.mark.parametrize("name", [None, "x", "x" * 64, "8bf3ac75-856e-4f85-a2ee-78c7131adc76", "номер 5"])
def test_what_a_client_may_call_its_message(name: str | None) -> None:
    assert draft(ALICE, {"user_id": 1, "message": "hello", "client_msg_id": name}).client_msg_id == name
