"""Fixtures of the races."""

from collections.abc import AsyncIterator

import pytest

from support.chain import SandboxNode
from support.house import House
from support.paying import Till, open_till
from support.racing import Stage, build_stage


@pytest.fixture
async def stage(house: House) -> AsyncIterator[Stage]:
    """Accounts and deals where a race can be run."""
    async with build_stage(house) as built:
        yield built


@pytest.fixture
async def till(paying_house: House, tron_node: SandboxNode) -> AsyncIterator[Till]:
    """The same with payments on the sandbox node."""
    async with build_stage(paying_house) as built:
        yield await open_till(built, tron_node)
