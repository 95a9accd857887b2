"""The published JavaScript client through the gateway."""

import secrets

import pytest

from support.javascript import TELLINGS, tell
from support.system import System


@pytest.mark.timeout(300)  # the first one installs what is missing
async def test_every_story_of_the_javascript_client_through_the_gateway(system: System) -> None:
    users = []
    for name in ("Alice", "Bob"):
        body = {"name": name, "external_id": secrets.randbelow(2**60) + 1}
        users.append((await system.call("POST", "/user/", body)).json()["id"])
    deal = {"title": "t", "description": "d", "price": "1", "customer_id": users[0], "performer_id": users[1]}
    chats = []
    for _ in TELLINGS:
        created = (await system.call("POST", "/deal/", deal)).json()
        chats.append({"chat_id": created["chat_id"], "customer": users[0], "performer": users[1]})

    assert await tell(system.environment["GATEWAY_URL"], chats) == dict.fromkeys(TELLINGS)
