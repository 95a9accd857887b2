"""The fixture that the package ships, as a project of somebody else would use it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tron_sandbox.__main__ import parse
from tron_sandbox.accounts import address, key
from tron_sandbox.addresses import of_public_key, to_base58
from tron_sandbox.pytest_plugin import RunningNode, running_node

THEIR_TEST = """
import pytest
from tronpy import Tron
from tronpy.keys import PrivateKey
from tronpy.providers import HTTPProvider

def test_a_payment_arrives(sandbox_node):
    key = PrivateKey.random()
    address = key.public_key.to_base58check_address()
    sandbox_node.faucet(address, trx="10", usdt="100.5")
    tron = Tron(HTTPProvider(sandbox_node.url))
    assert tron.get_account_balance(address) == 10
    assert tron.get_contract("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t").functions.balanceOf(address) == 100_500_000
    sandbox_node.admin("faults", endpoint="getnowblock", kind="429", count=5)
    tron.provider.sess.close()

def test_faults_are_gone(sandbox_node):
    assert sandbox_node.admin("faults") == {"armed": []}
    sandbox_node.settle()
    with pytest.raises(ValueError, match="depth must be"):
        sandbox_node.admin("fork", depth=99)
"""


def test_a_project_of_somebody_else_uses_it(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIR_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_node_that_can_not_start_is_told() -> None:
    with pytest.raises(RuntimeError, match="ended with code 2"), running_node("--solid", "0"):
        pass


def test_genesis_accounts_have_known_keys() -> None:
    with running_node("--block-interval", "0", "--accounts", "3") as node:
        balances = [node.ask("wallet/getaccount", address=address(n).hex()).get("balance") for n in range(4)]

    assert balances == [10_000_000_000] * 3 + [None]
    assert of_public_key(key(0).public_key.format(compressed=False)) == address(0)
    assert to_base58(address(0)).startswith("T")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    told = capsys.readouterr().out

    for word in ("tronpy", "tronweb", "/admin/faucet", "/admin/mine", "/admin/faults", "--state", "http://"):
        assert word in told


async def test_both_fixtures_live_beside_each_other(sandbox_node: RunningNode, tron_node: object) -> None:
    assert sandbox_node.ask("walletsolidity/getnowblock")["blockID"]
