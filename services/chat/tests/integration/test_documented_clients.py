"""The clients of docs/chat.md, as they stand on the page: they outlast a chat that is away, and end where it says no."""

import asyncio
import json
import os
import re
import runpy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from garant_local.settings import ROOT
from support.chatting import ChatHouse, leave
from support.javascript import FOLDER
from support.node import install
from support.waiting import eventually

PAGE = ROOT / "docs" / "chat.md"
BEFORE = """
const { CHAT_URL, CHAT_TOKEN, CHAT_USER } = process.env;
const tell = (what) => console.log(JSON.stringify(what));
const fetchToken = async () => CHAT_TOKEN;
const showStatus = () => {};
const show = async ({ message }) => { if (message === "anybody?") await speak("yes"); };
const speak = async (text) => tell(await say(Number(CHAT_USER), text).catch((error) => `refused: ${error.message}`));
"""
"""What the page leaves to its reader: whoever asks is answered, and each acknowledgement is printed."""
AFTER = '\nawait speak("hello");\n'

Say = Callable[[], Awaitable[Any]]
"""Returns the next acknowledgement, or how the client was refused: first to `hello`, then to the answer `yes`."""


Start = Callable[[str, str, int], AbstractAsyncContextManager[Say]]
"""Starts a client with the chat's URL, a token and the user who speaks."""


def sample(language: str) -> str:
    """Return the one block of a language that the page has."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


@pytest.fixture(params=["js", "python"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    return {"js": in_node, "python": in_python}[request.param](tmp_path)


def in_node(folder: Path) -> Start:
    @asynccontextmanager
    async def start(url: str, token: str, user: int) -> AsyncIterator[Say]:
        node = await asyncio.to_thread(install, FOLDER)
        (folder / "node_modules").symlink_to(FOLDER / "node_modules")
        code = sample("js").replace('"https://escrow.example"', "CHAT_URL")
        (folder / "client.mjs").write_text(BEFORE + code + AFTER)
        told = {"CHAT_URL": url, "CHAT_TOKEN": token, "CHAT_USER": str(user)}
        process = await asyncio.create_subprocess_exec(
            str(node), str(folder / "client.mjs"), stdout=asyncio.subprocess.PIPE, env=os.environ | told
        )
        assert process.stdout is not None
        stdout = process.stdout

        async def said() -> Any:
            return json.loads(await stdout.readline())

        try:
            yield said
        finally:
            process.kill()
            await process.wait()

    return start


def in_python(folder: Path) -> Start:
    @asynccontextmanager
    async def start(url: str, token: str, user: int) -> AsyncIterator[Say]:
        (folder / "client.py").write_text(sample("python"))

        async def fetch_token() -> str:
            return token

        chat = runpy.run_path(str(folder / "client.py"))["Chat"](url, fetch_token)
        running = asyncio.create_task(chat.run())
        texts = iter(("hello", "yes"))

        async def said() -> Any:
            text = next(texts)
            if text == "yes":
                await eventually(asked)
            try:
                return await chat.say(user, text)
            except PermissionError as error:
                return f"refused: {error}"

        async def asked() -> bool:
            return bool(chat.last_seq >= 2)

        try:
            yield said
        finally:
            await leave(chat.client)  # before the task: cancelled, it would take upstream's reader with it
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    return start


async def within(seconds: float, awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, seconds)


async def links(house: ChatHouse, count: int) -> None:
    async def found() -> int:
        return len(house.side.sockets.links)

    await eventually(found, lambda number: number == count)


@pytest.mark.timeout(120)
async def test_it_comes_back_from_refusals_that_pass_and_from_a_chat_that_ends(
    chat_house: ChatHouse, client: Start
) -> None:
    chat_id, alice, bob, _ = await chat_house.chat()
    chat_house.deals_wire.cut = True

    async def refusals() -> int:
        return len(chat_house.deals_wire.calls)

    async with client(chat_house.url, chat_id, alice) as said:
        first = asyncio.ensure_future(said())
        await eventually(refusals, lambda count: count > 0)
        assert chat_house.side.sockets.links == ()
        chat_house.deals_wire.cut = False
        assert (await within(30, first))["seq"] == 1

        await links(chat_house, 1)
        await chat_house.side.sockets.close(1)
        await links(chat_house, 0)
        await links(chat_house, 1)  # it listens again, though it has nothing to say
        other = await chat_house.listen(chat_id)
        assert (await other.say(bob, "anybody?"))["seq"] == 2
        assert (await within(30, said()))["seq"] == 3
        assert await other.until(3) == [1, 2, 3]


@pytest.mark.timeout(120)
async def test_it_ends_where_the_chat_refuses_it_for_good(chat_house: ChatHouse, client: Start) -> None:
    async with client(chat_house.url, "nonsense", 1) as said:
        assert await within(30, said()) == "refused: authorization_error"
