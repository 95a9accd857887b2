"""Unmodified tronweb against the node."""

import json
from pathlib import Path

import pytest

from support.chain import SandboxNode
from support.node import install, run

HERE = Path(__file__).parent.parent / "tronweb"
STORIES = [
    "TRX transfers",
    "USDT transfers",
    "constant calls and estimates",
    "freezing and its return",
    "delegation and its return",
    "accounts and resources",
    "blocks and ranges",
    "signed messages",
    "one's own contract",
    "memos, expirations and sign weights",
    "what broadcast refuses",
]


@pytest.fixture(scope="module")
def outcome(shared_tron_node: SandboxNode) -> dict[str, str | None]:
    node = install(HERE)
    found: dict[str, str | None] = json.loads(run(node, HERE / "stories.mjs", shared_tron_node.url, cwd=HERE))
    return found


@pytest.mark.timeout(300)  # the first one installs what is missing
@pytest.mark.parametrize("story", STORIES)
async def test_tronweb(tron_node: SandboxNode, outcome: dict[str, str | None], story: str) -> None:
    assert outcome[story] is None


def test_every_story_is_listed(outcome: dict[str, str | None]) -> None:
    assert list(outcome) == STORIES
