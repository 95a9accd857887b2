"""Fixtures of every suite. Servers are started once for a run, and only when a test wants them."""

from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest

from chat.api.app import Options
from support.chain import SandboxNode, sandbox_node
from support.chatting import ChatHouse, build_chat
from support.house import House, build_house
from support.servers import Databases
from support.sources import Broker, nats_from, postgres_from

hypothesis.settings.register_profile("shared", deadline=None)  # a machine that others use is slow at times
hypothesis.settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses containers."""
    parser.addoption(
        "--containers", action="store_true", help="PostgreSQL, NATS and the whole system in containers"
    )


@pytest.fixture(scope="session")
def containers(pytestconfig: pytest.Config) -> bool:
    """Tell whether servers are to run in containers."""
    return bool(pytestconfig.getoption("--containers"))


@pytest.fixture(scope="session")
def migrated(containers: bool) -> Iterator[Databases]:
    """A database per service, migrated once for the run."""
    with postgres_from(containers=containers) as found:
        yield found


@pytest.fixture(scope="session")
def nats(containers: bool) -> Iterator[Broker]:
    """A NATS server with JetStream for the run."""
    with nats_from(containers=containers) as found:
        yield found


@pytest.fixture
async def house(migrated: Databases) -> AsyncIterator[House]:
    """Accounts and deals over clean databases."""
    async with build_house(migrated) as built:
        yield built


@pytest.fixture
async def paying_house(migrated: Databases, tron_node: SandboxNode) -> AsyncIterator[House]:
    """Accounts, deals and payments over clean databases, on the sandbox node."""
    async with build_house(migrated, tron_node.url) as built:
        yield built


@pytest.fixture(scope="session")
def shared_tron_node() -> Iterator[SandboxNode]:
    """A sandbox node for the run."""
    with sandbox_node() as found:
        yield found


@pytest.fixture
async def tron_node(shared_tron_node: SandboxNode) -> SandboxNode:
    """The sandbox node, without faults."""
    await shared_tron_node.admin("faults", clear=True)
    return shared_tron_node


@pytest.fixture
async def chat_house(house: House, nats: Broker) -> AsyncIterator[ChatHouse]:
    """Accounts, deals and chat over clean databases."""
    async with build_chat(house, nats.url) as built:
        yield built


@pytest.fixture(params=[True, False], ids=["lean", "upstream"])
async def either_chat(request: pytest.FixtureRequest, house: House, nats: Broker) -> AsyncIterator[ChatHouse]:
    """The same on the lean path, and on that of python-engineio."""
    async with build_chat(house, nats.url, options=Options(lean=request.param)) as built:
        yield built
