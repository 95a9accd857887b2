"""Keys, the signer and the rules, without IO."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from payments.adapters.keys import DepositAddresses, KeyFileError, Seed, new_seed, read_key
from payments.adapters.signer import LocalSigner, SignerRefused
from payments.domain.model import Header, Payment, PaymentStatus, Step, Sweep, TransferClass
from payments.domain.rules import classify, next_status
from payments.settings import USDT_MAINNET
from tron_sandbox.protocol import Tx

KEY = bytes(range(32))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REFERENCE = Header(1000, f"{1000:016x}" + "ab" * 24, "00" * 32, NOW, True)


def sweep_of(address: str, index: int = 0) -> Sweep:
    return Sweep(1, 1, 1, 1, "tron_usdt", address, index, "USDT", 5, Step.PLANNED, 0)


def test_the_seed_is_unreadable_without_its_key_and_never_shown() -> None:
    stored, words = new_seed(KEY)

    assert len(words.split()) == 24
    assert words.encode() not in stored.ciphertext
    assert repr(Seed(stored, KEY)) == "Seed(…)"
    with pytest.raises(KeyFileError):
        Seed(stored, bytes(32))


def test_addresses_derived_in_public_are_those_that_the_seed_signs_for() -> None:
    stored, _ = new_seed(KEY)
    addresses = DepositAddresses(stored.deposit_xpub)
    signer = LocalSigner(Seed(stored, KEY), USDT_MAINNET, stored.main_address, stored.fuel_address, 10**8)

    for index in (0, 1, 77):
        address = addresses.deposit_address(index)
        signed = signer.sweep(sweep_of(address, index), 5, 1000, REFERENCE, 1)
        tx = Tx.from_bytes(signed.signed)
        assert tx.signers() == [tx.owner]
        assert hashlib.sha256(tx.raw).hexdigest() == signed.txid
    fuel = Tx.from_bytes(signer.fuel(sweep_of(address), 7, REFERENCE, 1).signed)
    assert (fuel.kind, fuel.contract.amount) == ("TransferContract", 7)


def test_the_signer_refuses_what_is_not_its_business() -> None:
    stored, _ = new_seed(KEY)
    other, _ = new_seed(KEY)
    signer = LocalSigner(Seed(stored, KEY), USDT_MAINNET, stored.main_address, stored.fuel_address, 1000)
    address = DepositAddresses(stored.deposit_xpub).deposit_address(0)
    foreign = DepositAddresses(other.deposit_xpub).deposit_address(0)

    with pytest.raises(SignerRefused, match="fee limit"):
        signer.sweep(sweep_of(address), 5, 1001, REFERENCE, 1)
    with pytest.raises(SignerRefused, match="fuel"):
        signer.fuel(sweep_of(address), 1001, REFERENCE, 1)
    with pytest.raises(SignerRefused, match="does not hold"):
        signer.sweep(sweep_of(foreign), 5, 10, REFERENCE, 1)


@pytest.mark.parametrize("content", ["", "zz", "ab" * 31, "ab" * 33])
def test_a_key_file_that_holds_no_key_names_the_setting(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    for path in (tmp_path / "key", tmp_path / "absent"):
        with pytest.raises(KeyFileError, match="PAYMENTS_SEED_KEY_FILE"):
            read_key(path)


@pytest.mark.parametrize(
    ("ours", "deposit", "own", "expected"),
    [
        (True, True, False, TransferClass.OWN),
        (True, False, True, TransferClass.OWN),
        (False, True, False, TransferClass.DEPOSIT),
        (False, False, True, TransferClass.FUNDING),
        (False, False, False, TransferClass.UNEXPLAINED),
    ],
)
def test_only_a_strangers_transfer_to_a_deposit_wallet_is_a_deposit(
    ours: bool, deposit: bool, own: bool, expected: TransferClass
) -> None:
    assert classify(ours=ours, to_deposit_wallet=deposit, to_own_wallet=own) is expected


@pytest.mark.parametrize(
    ("received", "applied", "unswept", "late", "expected"),
    [
        (10, True, 0, False, PaymentStatus.SUCCESS),
        (11, True, 0, True, PaymentStatus.SUCCESS),
        (10, False, 0, True, PaymentStatus.WAITING),
        (10, True, 5, True, PaymentStatus.WAITING),
        (10, True, 4, False, PaymentStatus.SUCCESS),
        (9, True, 0, False, PaymentStatus.WAITING),
        (9, True, 9, True, PaymentStatus.EXPIRED),
        (0, True, 0, True, PaymentStatus.EXPIRED),
    ],
)
def test_when_a_payment_is_done(
    received: int, applied: bool, unswept: int, late: bool, expected: PaymentStatus
) -> None:
    payment = Payment(1, 1, 1, "tron_usdt", 1, "T", "USDT", 10, 99, PaymentStatus.WAITING, 1, NOW, NOW, NOW)
    chain_time = NOW if late else NOW - timedelta(seconds=1)

    found = next_status(
        payment, in_time=received, all_applied=applied, unswept=unswept, dust_below=5, chain_time=chain_time
    )

    assert found is expected
