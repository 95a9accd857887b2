"""A pytest plugin: `sandbox_node` is a node that makes blocks when told to, a process of its own for the run.

    def test_a_payment_arrives(sandbox_node):
        sandbox_node.faucet("T…", trx="10", usdt="100.5")
        tron = Tron(HTTPProvider(sandbox_node.url))

Installed with the package (entry point `pytest11`); it needs nothing but pytest, and starts nothing until asked.
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

START_TIMEOUT_S = 30.0
SOLID_AFTER = 3


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A node that answers at `url`."""

    url: str

    def admin(self, name: str, **body: Any) -> Any:
        """Call the admin API, such as `admin("fork", depth=2)`.

        Raises:
            ValueError: with the node's explanation, when it refuses.
        """
        return self._ask(f"admin/{name}", body)

    def ask(self, path: str, **body: Any) -> Any:
        """Call the node's own API, such as `ask("wallet/getaccount", address="T…", visible=True)`."""
        return self._ask(path, body)

    def faucet(self, address: str, **amounts: str) -> Any:
        """Send `trx` and `usdt`, as decimal text; they are in a block when this returns."""
        return self.admin("faucet", address=address, **amounts)

    def mine(self, blocks: int = 1) -> None:
        """Make blocks."""
        self.admin("mine", blocks=blocks)

    def settle(self) -> None:
        """Make enough blocks that all that waits is solid."""
        self.mine(SOLID_AFTER + 1)

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{self.url}/{path}", json.dumps(body).encode())  # noqa: S310 - our own node.
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same.
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(error.read().decode()) from error


@contextlib.contextmanager
def running_node(*arguments: str) -> Iterator[RunningNode]:
    """Run a node on a free port; the arguments are those of `python -m tron_sandbox`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tron_sandbox", "--port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own module.
    try:
        node = RunningNode(f"http://127.0.0.1:{port}")
        _wait_for(node, process)
        yield node
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(node: RunningNode, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the sandbox node ended with code {process.returncode}")
        try:
            node.ask("wallet/getnowblock")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the sandbox node did not answer within {START_TIMEOUT_S:.0f} s")


@pytest.fixture(scope="session")
def _sandbox_node_of_the_run() -> Iterator[RunningNode]:
    with running_node("--block-interval", "0", "--solid", str(SOLID_AFTER)) as node:
        yield node


@pytest.fixture
def sandbox_node(_sandbox_node_of_the_run: RunningNode) -> Iterator[RunningNode]:
    """A Tron node without armed faults; it makes blocks only when told to, solid after three."""
    _sandbox_node_of_the_run.admin("faults", clear=True)
    yield _sandbox_node_of_the_run
    _sandbox_node_of_the_run.admin("faults", clear=True)
