"""The servers that are measured: two processes of the chat, the Node server, and the same with batches.

Each stores into a database of its own on one PostgreSQL with fsync; the chat has NATS beside. Deals is away: the
chats are written by SQL.
"""

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.chatting import books
from bench.servers import Program, Servers, backing, start
from support.node import install
from support.servers import free_port

OURS, OURS_TOO, NODE, BATCHED = "chat", "chat 2", "node", "node in batches"
DATABASES = {NODE: "peer", BATCHED: "peer_in_batches"}
PEERS = Path(__file__).parent / "node"


@contextlib.contextmanager
def serving() -> Iterator[tuple[Servers, "Fresh"]]:
    """Start everything, and end it."""
    with backing((OURS, OURS_TOO, NODE, BATCHED)) as (servers, folder), contextlib.ExitStack() as stack:
        for name in DATABASES.values():
            asyncio.run(books.copy(servers.databases.postgres.url("postgres"), "garant_chat", name))
        fresh = Fresh(servers, folder)
        for name in (OURS, OURS_TOO, NODE, BATCHED):
            start(servers, folder, fresh.program(name), stack)
        yield servers, fresh


def database_url(servers: Servers, name: str) -> str:
    """Return the URL by which the owner connects to a server's database."""
    return servers.databases.postgres.url(DATABASES.get(name, "garant_chat"))


class Fresh:
    """Starts servers, also further ones that have served nobody yet."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._node = install(PEERS)

    def program(self, name: str, alias: str = "") -> Program:
        """Return how a server is started."""
        port = str(self._servers.ports[alias or name])
        if name in DATABASES:
            environment = {"PORT": port, "DATABASE_URL": database_url(self._servers, name)}
            environment |= {"BATCH": "1"} if name == BATCHED else {}
            return alias or name, [str(self._node), str(PEERS / "server.mjs")], "/", environment
        environment = {
            "NATS_URL": self._servers.nats.url,
            "SERVICE_CREDENTIAL": secrets.token_hex(24),
            "SERVICE_CALLERS": json.dumps({"operator": secrets.token_hex(24)}),
            "CHAT_DATABASE_URL": self._servers.databases.url("chat"),
            "CHAT_PORT": port,
            "CHAT_TOKEN_PUBLIC_KEY": Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex(),
            "CHAT_ACCEPT_PLAIN_CHAT_ID": "true",
            "DEALS_URL": "http://127.0.0.1:1",
            "INVARIANTS_INTERVAL_S": "86400",
        }
        return alias or name, [sys.executable, "-m", "chat", "serve"], "/readyz", environment

    @contextlib.contextmanager
    def started(self, name: str) -> Iterator[str]:
        """Start a further process of a server; yield the name it goes by, and end it."""
        alias = f"a new {name}"
        self._servers.ports[alias] = free_port()
        with contextlib.ExitStack() as stack:
            start(self._servers, self._folder, self.program(name, alias), stack)
            yield alias
        del self._servers.processes[alias], self._servers.ports[alias]
