"""The stories of the published JavaScript client, against any URL."""

import asyncio
import json
from typing import Any

from garant_local.settings import ROOT
from support.node import install, run

FOLDER = ROOT / "services" / "chat" / "tests" / "javascript"
TRANSPORTS = ("websocket", "polling", "upgrade")
TELLINGS = [
    f"{transport}: {story}"
    for story in (
        "a wrong token is refused and not tried again",
        "the history comes first, then live messages in one order",
        "what does not fit is told in the acknowledgement and ignored",
        "many messages at once keep their order",
        "joining while others speak loses and doubles nothing",
        "a lost connection comes back by itself",
        "what was said while away is sent after the reconnect",
        "after_seq continues where the client stopped",
        "a message that is sent again is stored once",
        "how far a party has read is told",
        "who leaves is gone, and the others stay",
    )
    for transport in TRANSPORTS
]
"""Every story over every transport; each wants a chat of its own."""


async def tell(url: str, chats: list[dict[str, Any]]) -> dict[str, str | None]:
    """Play every story; return what went wrong in each, or None.

    Args:
        url: the chat's or the gateway's.
        chats: a chat for each telling, with `chat_id`, `customer` and `performer`.
    """
    node = await asyncio.to_thread(install, FOLDER)
    job = json.dumps({"url": url, "chats": chats})
    said = await asyncio.to_thread(run, node, FOLDER / "stories.mjs", job, cwd=FOLDER)
    found: dict[str, str | None] = json.loads(said)
    return found
