"""The system that the end-to-end tests share."""

from collections.abc import Iterator

import pytest

from support.system import System, running_system


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """Everything, started once for the run."""
    with running_system() as found:
        yield found
