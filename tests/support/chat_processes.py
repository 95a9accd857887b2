"""Several processes of the chat on one PostgreSQL and a NATS of their own, and clients that roam between them."""

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
from socketio.exceptions import SocketIOError

from garant_local.nats import Nats
from support.chatting import PUBLIC_KEY, Listener, Refused, leave, listen
from support.servers import Databases, free_port, temporary_folder
from support.town import Process
from support.waiting import eventually

PROCESSES = 3
CUSTOMER, PERFORMER = 1, 2
PATIENCE_S = 5.0


@dataclass(slots=True)
class ChatProcesses:
    """The processes, and their broker."""

    databases: Databases
    nats: Process
    processes: list[Process]
    urls: list[str]
    crash_file: Path

    async def new_chat(self) -> str:
        """Store a chat, as if deals had told of it."""
        chat_id = uuid4()
        await self.fetch(
            "INSERT INTO chat (id, deal_id, tenant_id, customer_id, performer_id, status)"
            " VALUES ($1, 1, 1, $2, $3, 'confirmed') RETURNING id",
            chat_id,
            CUSTOMER,
            PERFORMER,
        )
        return str(chat_id)

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Return rows of the chat's database."""
        connection = await asyncpg.connect(self.databases.owner_url("chat"), timeout=5)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def stored(self, chat_id: str) -> list[tuple[int, int]]:
        """Return the number and the id of each message of a chat, in order."""
        rows = await self.fetch("SELECT seq, id FROM message WHERE chat_id = $1 ORDER BY seq", UUID(chat_id))
        return [(row[0], row[1]) for row in rows]

    async def dead(self) -> list[Process]:
        """Return the processes that have ended."""
        return [process for process in self.processes if not process.alive]

    async def ready(self, number: int) -> dict[str, Any]:
        """Return what a process says of its readiness."""
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            answer: dict[str, Any] = (await client.get(f"{self.urls[number]}/readyz")).json()
        return answer


@contextlib.asynccontextmanager
async def chat_processes(databases: Databases, count: int = PROCESSES) -> AsyncIterator[ChatProcesses]:
    """Run some processes of the chat, on clean databases."""
    await databases.clean()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        nats = Nats(folder, free_port(), secrets.token_hex(12))
        broker = Process(nats.argv(), nats.answers, folder / "nats.log")
        await broker.start()
        stack.push_async_callback(broker.stop, signal.SIGTERM)
        found = ChatProcesses(databases, broker, [], [], folder / "crash")
        for number in range(count):
            port = free_port()
            process = Process(
                [sys.executable, "-m", "chat", "serve"],
                _answers(port),
                folder / f"chat-{number}.log",
                environment=_environment(databases, nats, port, found.crash_file),
            )
            await process.start()
            stack.push_async_callback(process.stop, signal.SIGTERM)
            found.processes.append(process)
            found.urls.append(f"http://127.0.0.1:{port}")
        yield found


def _environment(databases: Databases, nats: Nats, port: int, crash_file: Path) -> dict[str, str]:
    nobody = f"http://127.0.0.1:{free_port()}"
    return {
        "PATH": os.environ["PATH"],
        "CHAT_DATABASE_URL": databases.url("chat"),
        "CHAT_PORT": str(port),
        "NATS_URL": nats.url,
        "ACCOUNTS_URL": nobody,
        "DEALS_URL": nobody,
        "SERVICE_CREDENTIAL": secrets.token_hex(24),
        "SERVICE_CALLERS": json.dumps({"operator": secrets.token_hex(24)}),
        "CHAT_TOKEN_PUBLIC_KEY": PUBLIC_KEY,
        "CHAT_ACCEPT_PLAIN_CHAT_ID": "true",
        "CRASH_POINT_FILE": str(crash_file),
    }


def _answers(port: int) -> Any:
    async def answers() -> bool:
        try:
            async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
                return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        except httpx.HTTPError:
            return False

    return answers


@dataclass(slots=True)
class Roamer:
    """A client that connects to any process, says things until each is acknowledged, and goes elsewhere.

    It asks for what came after the last message that it has, so all that it heard must be one list in order.
    """

    house: ChatProcesses
    chat_id: str
    user_id: int
    dice: random.Random
    heard: list[tuple[int, int]] = field(default_factory=list)
    acked: dict[str, tuple[int, int]] = field(default_factory=dict)
    joins: int = 0
    listener: Listener | None = None

    async def connect(self) -> Listener:
        """Connect anywhere, as often as it takes."""
        while True:
            url = self.dice.choice(self.house.urls)
            auth = {"token": self.chat_id, "after_seq": self.heard[-1][0] if self.heard else 0}
            try:
                self.listener = await listen(url, self.chat_id, auth=auth)
            except Refused:
                await asyncio.sleep(0.05)
                continue
            self.joins += 1
            return self.listener

    async def go(self) -> None:
        """Leave, and take what was heard along."""
        if self.listener is not None:
            listener, self.listener = self.listener, None
            await leave(listener.client)
            self.heard += [(message["seq"], message["id"]) for message in listener.heard]

    async def say(self, text: str) -> None:
        """Say something under a name of its own until it is acknowledged, wherever that is."""
        body = {"user_id": self.user_id, "message": text, "client_msg_id": text}
        while True:
            listener = self.listener or await self.connect()
            try:
                ack = await listener.client.call("message", body, timeout=PATIENCE_S)
            except SocketIOError:
                await self.go()
                continue
            if "seq" in ack:
                self.acked[text] = (ack["seq"], ack["id"])
                return
            assert ack == {"error": "unavailable"}, ack

    async def roam(self, stop: asyncio.Event) -> None:
        """Say things and change places until it is enough."""
        number = 0
        while not stop.is_set():
            await self.say(f"{id(self)}-{number}")
            number += 1
            if self.dice.random() < 0.1:
                await self.go()

    async def until(self, last_seq: int) -> None:
        """Wait until everything was heard, in one connection or many."""
        listener = self.listener or await self.connect()

        async def has_all() -> bool:
            seqs = listener.seqs or [seq for seq, _ in self.heard[-1:]]
            return listener.closed.is_set() or (bool(seqs) and seqs[-1] >= last_seq)

        await eventually(has_all, within_s=30)
        closed = listener.closed.is_set()
        await self.go()
        if closed:
            await self.until(last_seq)
