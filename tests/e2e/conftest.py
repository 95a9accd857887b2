"""The system that the end-to-end tests share."""

from collections.abc import Iterator

import pytest

from support.composed import composed_system
from support.system import System, running_system


@pytest.fixture(scope="session")
def system(containers: bool) -> Iterator[System]:
    """Everything, started once for the run: as `make run` starts it, or from images."""
    often = {"INVARIANTS_INTERVAL_S": "10"}  # so that a test need not wait a minute for a proof
    with composed_system() if containers else running_system(often) as found:
        yield found


@pytest.fixture
def processes(containers: bool) -> None:
    """Want processes of this machine; what containers do when they are killed is in tests/containers."""
    if containers:
        pytest.skip("looks at the processes of `make run`")
