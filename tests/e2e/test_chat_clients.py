"""The published JavaScript client through the gateway."""

import pytest

from support.javascript import TELLINGS, tell
from support.playing import deal
from support.system import System


@pytest.mark.timeout(300)  # the first one installs what is missing
async def test_every_story_of_the_javascript_client_through_the_gateway(system: System) -> None:
    chats = []
    for _ in TELLINGS:
        made = await deal(system)
        parties = {"customer": made["customer_id"], "performer": made["performer_id"]}
        chats.append({"chat_id": made["chat_id"]} | parties)

    assert await tell(system.environment["GATEWAY_URL"], chats) == dict.fromkeys(TELLINGS)
