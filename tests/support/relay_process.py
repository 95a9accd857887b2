"""A relay as a process of its own: publishes one service's outbox until it is killed.

python tests/support/relay_process.py SERVICE READY_FILE, with DATABASE_URL and NATS_URL in the environment.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from common.bus import Bus
from common.outbox import Relay


async def main(service: str, ready: Callable[[], None]) -> None:
    """Connect, tell that it is ready, and relay."""
    bus = await Bus.connect(os.environ["NATS_URL"], f"relay-{os.getpid()}")
    ready()
    await Relay(os.environ["DATABASE_URL"], service, bus).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).touch))
