"""Awaiting a condition instead of sleeping."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    probe: Callable[[], Awaitable[T]], accept: Callable[[T], bool] = bool, within_s: float = 20
) -> T:
    """Ask `probe` until `accept` says yes; fail with the last answer when it does not in time."""
    deadline = time.monotonic() + within_s
    while True:
        found = await probe()
        if accept(found):
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {within_s} s"
        await asyncio.sleep(0.05)
