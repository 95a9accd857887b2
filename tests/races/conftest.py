"""Fixtures of the races."""

from collections.abc import AsyncIterator

import pytest

from support.house import House
from support.racing import Stage, build_stage


@pytest.fixture
async def stage(house: House) -> AsyncIterator[Stage]:
    """Accounts and deals where a race can be run."""
    async with build_stage(house) as built:
        yield built
