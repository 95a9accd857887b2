"""NATS with JetStream from the wheel's binary."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

CONFIG = """\
# Written at each start.
host: 127.0.0.1
port: {port}
server_name: garant
max_payload: 1MB
authorization {{ user: garant, password: {password}, timeout: 5 }}
jetstream {{ store_dir: {store}, sync_interval: always, max_file_store: 10GB, max_memory_store: 256MB }}
"""


def binary(name: str) -> str:
    """Return the path of a program that the environment installed."""
    return str(Path(sys.executable).parent / name)


@dataclass(frozen=True, slots=True)
class Nats:
    """A server that keeps its streams in `data/nats`."""

    data: Path
    port: int
    password: str

    def argv(self) -> list[str]:
        """Write the configuration and return the command."""
        config = self.data / "nats.conf"
        config.touch(mode=0o600)
        store = str(self.data / "nats").replace("\\", "\\\\").replace('"', '\\"')
        config.write_text(CONFIG.format(port=self.port, password=f'"{self.password}"', store=f'"{store}"'))
        return [binary("nats-server"), "--config", str(config)]

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"nats://garant:{self.password}@127.0.0.1:{self.port}"

    async def answers(self) -> bool:
        """Tell whether the server greets."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                greeting = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return greeting.startswith(b"INFO")
