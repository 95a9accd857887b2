"""Fixtures of the scanner's tests."""

import pytest

from payments.use_cases import store_blocks, tell_lag
from support.chain import SandboxNode
from support.house import House
from support.scanning import Scanner


@pytest.fixture
async def solo(paying_house: House, tron_node: SandboxNode) -> Scanner:
    """A scanner on one node."""
    return Scanner(paying_house, tron_node)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What was reported to Sentry by the scanner."""
    found: list[BaseException] = []
    for module in (tell_lag, store_blocks):
        monkeypatch.setattr(module, "report", found.append)
    return found
