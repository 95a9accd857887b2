"""The house on faulty wires."""

import os
import random
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.house import House
from support.town import Town, running_town
from support.wires import WiredHouse, wire_up


@pytest.fixture
async def wired_house(house: House) -> AsyncIterator[WiredHouse]:
    """Accounts and deals with a proxy between them."""
    async with wire_up(house) as wired:
        yield wired


@pytest.fixture
def rng() -> random.Random:
    """Randomness that can be replayed; the seed is among what a failed test printed."""
    seed = int(os.environ.get("GARANT_SEED") or secrets.randbelow(2**32))
    print(f"GARANT_SEED={seed} plays the same choices again")
    return random.Random(seed)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def town() -> AsyncIterator[Town]:
    """Accounts and deals as processes, started once for the run; each test leaves it whole."""
    async with running_town() as running:
        yield running
