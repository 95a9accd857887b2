"""The messages of a chat over HTTP."""

from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from support.chatting import ChatHouse


async def get(
    house: ChatHouse, path: str, key: str | None = "default", method: str = "GET"
) -> tuple[int, Any, dict[str, str]]:
    headers = {"authorization": f"Bearer {house.house.keys.get(key, key)}"} if key else {}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{house.url}/api/v1/chat/{path}", headers=headers) as answer,
    ):
        body = None if method == "HEAD" else await answer.json(content_type=None)
        return answer.status, body, {name.lower(): value for name, value in answer.headers.items()}


async def talk(house: ChatHouse, texts: int) -> tuple[str, int, int]:
    chat_id, alice, bob, _ = await house.chat()
    listener = await house.listen(chat_id)
    for number in range(texts):
        await listener.say(alice if number % 2 == 0 else bob, str(number))
    return chat_id, alice, bob


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_chat_is_read_page_by_page_oldest_first(chat_house: ChatHouse, slash: str) -> None:
    chat_id, alice, bob = await talk(chat_house, 5)
    pages, cursor = list[Any](), ""
    while True:
        status, page, _ = await get(chat_house, f"{chat_id}/messages{slash}?limit=2{cursor}")
        assert status == 200
        pages.append(page)
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert [[m["message"] for m in page["messages"]] for page in pages] == [["0", "1"], ["2", "3"], ["4"]]
    first = pages[0]["messages"][0]
    assert first == {
        "id": first["id"],
        "seq": 1,
        "user_id": alice,
        "role": "customer",
        "message": "0",
        "created_at": first["created_at"],
    }
    assert (pages[0]["messages"][1]["user_id"], pages[0]["messages"][1]["role"]) == (bob, "performer")
    assert len((await get(chat_house, f"{chat_id}/messages", "arbiter"))[1]["messages"]) == 5


async def test_a_chat_that_nobody_has_entered_is_empty(chat_house: ChatHouse) -> None:
    chat_id, _, _, _ = await chat_house.chat()
    found = await get(chat_house, f"{chat_id}/messages")
    assert found[:2] == (200, {"messages": [], "next_cursor": None})


async def test_what_is_not_yours_is_not_found(chat_house: ChatHouse) -> None:
    chat_id, _, _ = await talk(chat_house, 1)
    for path, key in ((chat_id, "other"), (str(uuid4()), "default")):
        status, body, headers = await get(chat_house, f"{path}/messages", key)
        assert (status, body["code"]) == (404, "chat_not_found")
        assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("key", "status"), [(None, 401), ("gk_nonsense", 401), ("approve", 403)]
)  # `approve` has neither scope
async def test_it_wants_a_key_with_a_scope(chat_house: ChatHouse, key: str | None, status: int) -> None:
    chat_id, _, _, _ = await chat_house.chat()
    found = await get(chat_house, f"{chat_id}/messages", key)
    assert found[0] == found[1]["status"] == status
    assert found[2].get("www-authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.parametrize(
    "path",
    ["nonsense/messages", "{}/messages?limit=0", "{}/messages?limit=201", "{}/messages?limit=x",
     "{}/messages?cursor=0", "{}/messages?cursor=-1", "{}/messages?cursor=9999999999999999999"],
)  # fmt: skip
async def test_what_is_malformed_says_where(chat_house: ChatHouse, path: str) -> None:
    status, body, _ = await get(chat_house, path.format(uuid4()))
    assert (status, body["code"]) == (422, "invalid_input")
    assert body["errors"][0]["at"] in body["detail"]


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
async def test_other_methods_are_not_possible(chat_house: ChatHouse, method: str) -> None:
    status, body, headers = await get(chat_house, f"{uuid4()}/messages", method=method)
    assert (status, headers["allow"]) == (405, "GET")
    assert body is None or body["code"] == "method_not_allowed"


async def test_a_request_id_comes_back(chat_house: ChatHouse) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{chat_house.url}/api/v1/chat/x/messages", headers={"x-request-id": "mark-7"}) as answer,
    ):
        assert answer.headers["x-request-id"] == "mark-7"


async def test_a_bug_is_answered_as_one(chat_house: ChatHouse) -> None:
    chat_id, _, _ = await talk(chat_house, 1)
    await chat_house.house.execute("chat", "ALTER TABLE message RENAME TO gone")
    try:
        broken = await get(chat_house, f"{chat_id}/messages")
    finally:
        await chat_house.house.execute("chat", "ALTER TABLE gone RENAME TO message")
    assert (broken[0], broken[1]["code"]) == (500, "internal_error")
