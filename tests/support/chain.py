"""A sandbox node that makes blocks only when told to, and a person with a key on it."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tronpy.keys import PrivateKey

from support.servers import free_port, running, temporary_folder

USDT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
SOLID = 3


@dataclass(frozen=True, slots=True)
class SandboxNode:
    """A running node."""

    url: str

    async def admin(self, name: str, **body: Any) -> Any:
        """Call the node's admin API."""
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(f"{self.url}/admin/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask(self, path: str, **body: Any) -> Any:
        """Call the node's own API."""
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(f"{self.url}/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def mine(self, blocks: int = 1) -> None:
        """Make blocks."""
        await self.admin("mine", blocks=blocks)

    async def settle(self) -> None:
        """Make enough blocks that all that waits is solid."""
        await self.mine(SOLID + 1)


@contextlib.contextmanager
def sandbox_node(
    state: Path | None = None, port: int | None = None, stop: signal.Signals = signal.SIGTERM
) -> Iterator[SandboxNode]:
    """Run a node that makes no blocks by itself."""
    port = port or free_port()
    node = SandboxNode(f"http://127.0.0.1:{port}")

    async def answers() -> bool:
        try:
            async with httpx.AsyncClient(timeout=5) as client:
                return (await client.get(f"{node.url}/wallet/getnowblock")).status_code == 200
        except httpx.HTTPError:
            return False

    arguments = ["--port", str(port), "--block-interval", "0", "--solid", str(SOLID)]
    if state is not None:
        arguments += ["--state", str(state)]
    with (
        temporary_folder() as folder,
        running([sys.executable, "-m", "tron_sandbox", *arguments], answers, stop, log=folder / "node.log"),
    ):
        yield node


def new_key() -> PrivateKey:
    """Return a new key."""
    return PrivateKey.random()


def address_of(key: PrivateKey) -> str:
    """Return a key's address."""
    return str(key.public_key.to_base58check_address())
