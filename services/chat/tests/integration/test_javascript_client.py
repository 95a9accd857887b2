"""The published socket.io-client against the chat, over each transport."""

import pytest

from support.chatting import ChatHouse
from support.javascript import TELLINGS, tell


@pytest.mark.timeout(300)  # the first one installs what is missing
async def test_every_story_of_the_javascript_client(chat_house: ChatHouse) -> None:
    house = chat_house.house
    alice, bob = await house.user(1), await house.user(2)
    chats = [
        {"chat_id": (await house.deal(alice, bob))["chat_id"], "customer": alice, "performer": bob}
        for _ in TELLINGS
    ]

    assert await tell(chat_house.url, chats) == dict.fromkeys(TELLINGS)
