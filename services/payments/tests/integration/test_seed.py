"""The commands of the seed and the signer's process, run as an operator runs them."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import httpx
import pytest

from common.internal import InternalClient
from payments.adapters.keys import DepositAddresses
from payments.adapters.remote_signer import RemoteSigner
from payments.domain.intents import DepositKey, Fuel
from payments.domain.model import Header
from support.servers import Databases, free_port, running
from support.signing import SIGNER_CREDENTIAL

OLD, NEW = "11" * 32, "22" * 32
WORDS = "abandon " * 23 + "art"
"""The mnemonic of 32 zero bytes (BIP-39's test vectors)."""
OTHER = "zoo " * 23 + "vote"
OURS = {"main", "fuel"}
"""The commands' own words that may be in a mnemonic."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    found = {"old": tmp_path / "old.key", "new": tmp_path / "new.key"}
    for name, key in (("old", OLD), ("new", NEW)):
        found[name].write_text(key + "\n")
    return found


@pytest.fixture
def environment(migrated: Databases, keys: dict[str, Path]) -> dict[str, str]:
    asyncio.run(migrated.clean())
    return {
        **os.environ,
        "SIGNER_DATABASE_URL": migrated.signer_url,
        "SERVICE_CALLERS": json.dumps({"payments": SIGNER_CREDENTIAL}),
        "SIGNER_PORT": str(free_port()),
        "PAYMENTS_SEED_KEY_FILE": str(keys["old"]),
    }


@pytest.fixture
def payments(environment: dict[str, str]) -> Run:
    """Return what runs a command of payments; no word or key may be in what it says, but where a seed is made."""

    def run(
        *arguments: str, words: str = "", key: Path | None = None, code: int = 0
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "payments", *arguments],
            env=environment | ({"PAYMENTS_SEED_KEY_FILE": str(key)} if key else {}),
            input=words + "\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert "Traceback" not in said
        assert not [key for key in (OLD, NEW) if key in said]
        assert not set(words.split()) & set(re.findall(r"\w+", said)) - OURS
        return done

    return run


def stored(migrated: Databases) -> tuple[bytes, bytes]:
    async def read() -> tuple[bytes, bytes]:
        connection = await asyncpg.connect(migrated.owner_url("payments"))
        try:
            row = await connection.fetchrow("SELECT nonce, ciphertext FROM signer.seed")
        finally:
            await connection.close()
        assert row is not None
        return row[0], row[1]

    return asyncio.run(read())


def test_the_words_of_a_new_seed_restore_it_elsewhere(payments: Run, migrated: Databases) -> None:
    made = json.loads(payments("create-seed").stdout)
    again = json.loads(payments("create-seed").stdout)
    assert len(made["mnemonic"].split()) == 24
    assert again == {name: made[name] for name in ("main_wallet", "fuel_wallet")}
    asyncio.run(migrated.clean())

    said = payments("restore-seed", words=made["mnemonic"]).stdout

    assert said.startswith("stored")
    assert made["main_wallet"] in said
    assert made["main_wallet"] in payments("check-seed").stdout


def test_a_seed_whose_words_are_hidden_is_made_all_the_same(payments: Run) -> None:
    done = payments("create-seed", "--hide-words")

    made = json.loads(done.stdout)
    assert set(made) == {"main_wallet", "fuel_wallet"}
    assert made["main_wallet"] in payments("check-seed").stdout


def test_a_restore_takes_the_same_seed_again_and_no_other(
    payments: Run, migrated: Databases, keys: dict[str, Path]
) -> None:
    payments("restore-seed", words=WORDS)
    first = stored(migrated)
    payments("restore-seed", words=f"  {WORDS.upper()} ")
    refused = payments("restore-seed", words=OTHER, code=1).stderr
    assert "another seed is stored" in refused
    assert stored(migrated) == first

    # The key file is lost: the words encrypt the seed with a new one.
    assert "holds another key" in payments("check-seed", key=keys["new"], code=1).stderr
    payments("restore-seed", words=WORDS, key=keys["new"])
    payments("check-seed", key=keys["new"])
    assert "PAYMENTS_SEED_KEY_FILE" in payments("check-seed", code=1).stderr


def test_words_that_are_no_mnemonic_are_refused_and_not_shown(payments: Run) -> None:
    words = "abandon secretword " + "abandon " * 21 + "hiddenword"
    assert "word 2, 24" in payments("restore-seed", words=words, code=1).stderr
    assert "there is no seed" in payments("check-seed", code=1).stderr


def test_a_rotation_makes_the_old_key_useless(payments: Run, migrated: Databases, keys: dict[str, Path]) -> None:
    payments("restore-seed", words=WORDS)
    before = stored(migrated)
    absent = str(keys["old"].with_name("absent"))
    assert "--new-key-file" in payments("rotate-seed-key", "--new-key-file", absent, code=1).stderr
    assert stored(migrated) == before

    payments("rotate-seed-key", "--new-key-file", str(keys["new"]))

    assert "holds another key" in payments("check-seed", code=1).stderr
    payments("check-seed", key=keys["new"])
    again = payments("rotate-seed-key", "--new-key-file", str(keys["new"]), code=1).stderr
    assert "has the new key already" in again


def test_a_seed_that_does_not_fit_what_is_beside_it_is_named(payments: Run, migrated: Databases) -> None:
    payments("restore-seed", words=WORDS)

    async def tamper() -> None:
        connection = await asyncpg.connect(migrated.owner_url("payments"))
        await connection.execute("UPDATE signer.seed SET fuel_address = main_address")
        await connection.close()

    asyncio.run(tamper())

    assert "fuel_address" in payments("check-seed", code=1).stderr


@pytest.fixture
def signer(payments: Run, environment: dict[str, str], tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A signer that runs."""
    payments("restore-seed", words=WORDS)
    url = f"http://127.0.0.1:{environment['SIGNER_PORT']}/readyz"

    async def ready() -> bool:
        try:
            async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
                return (await client.get(url)).status_code == 200
        except httpx.HTTPError:
            return False

    argv = [sys.executable, "-m", "payments", "signer"]
    with running(argv, ready, signal.SIGTERM, log=tmp_path / "log", environment=environment) as process:
        yield process


@pytest.mark.usefixtures("signer")
def test_a_running_signer_goes_on_through_a_rotation_and_starts_with_the_new_key_alone(
    payments: Run, environment: dict[str, str], migrated: Databases, keys: dict[str, Path], tmp_path: Path
) -> None:
    payments("rotate-seed-key", "--new-key-file", str(keys["new"]))

    async def sign() -> str:
        connection = await asyncpg.connect(migrated.owner_url("payments"))
        address = DepositAddresses(await connection.fetchval("SELECT deposit_xpub FROM wallet_root"))
        await connection.close()
        client = InternalClient(f"http://127.0.0.1:{environment['SIGNER_PORT']}", SIGNER_CREDENTIAL)
        try:
            block = Header(1, f"{1:016x}" + "00" * 24, "", datetime.now(UTC), True)
            intent = Fuel(DepositKey(5, address.deposit_address(5)), 7)
            return (await RemoteSigner(client).sign(intent, block, 1)).txid
        finally:
            await client.close()

    txid = asyncio.run(sign())

    environment["SIGNER_PORT"] = str(free_port())
    assert "PAYMENTS_SEED_KEY_FILE holds another key" in payments("signer", code=2).stderr
    log = (tmp_path / "log").read_text()
    assert f"intent.signed kind=fuel txid={txid}" in log.replace("event=", "")
    assert not [word for word in (*WORDS.split(), OLD, NEW) if word != "art" and word in log]
