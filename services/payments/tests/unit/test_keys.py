"""Keys, the signer and the rules, without IO."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bip_utils import Bip44, Bip44Changes, Bip44Coins
from tronpy.keys import to_raw_address

from payments.adapters.keys import DepositAddresses, KeyFileError, Seed, new_seed, read_key, seed_of_words
from payments.adapters.signer import Bounds, LocalSigner
from payments.domain.errors import SeedRefused, SignerRefused
from payments.domain.intents import NATIVE, Collect, Delegate, DepositKey, Fuel, Intent, Payout, Reclaim, Stake
from payments.domain.model import Header, Payment, PaymentStatus, StoredSeed, TransferClass
from payments.domain.rules import classify, next_status
from payments.settings import USDT_MAINNET
from tron_sandbox.protocol import Tx

KEY = bytes(range(32))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REFERENCE = Header(1000, f"{1000:016x}" + "ab" * 24, "00" * 32, NOW, True)


STRANGER = "TB8hS63CKx92bKwaHkoUChNxoazzS3SFYs"


def test_words_restore_the_seed_that_they_were_made_with() -> None:
    stored, words = new_seed(KEY)

    restored = seed_of_words(f" {words.upper()}\n", bytes(32))

    assert restored.root == stored.root
    assert Seed(restored, bytes(32)).private_key(0, 1) == Seed(stored, KEY).private_key(0, 1)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "not 0"),
        ("abandon " * 23, "not 23"),
        ("abandon " * 24, "checksum"),
        ("abandon papaya " + "abandon " * 21 + "rhubarb", "word 2, 24$"),
    ],
)
def test_words_that_are_no_mnemonic_are_refused_without_being_shown(words: str, why: str) -> None:
    with pytest.raises(SeedRefused, match=why) as refused:
        seed_of_words(words, KEY)
    assert refused.value.__cause__ is None
    assert not [word for word in words.split() if word in str(refused.value)]


def signer_of(stored: StoredSeed, fee_cap_sun: int = 10**8) -> LocalSigner:
    bounds = Bounds([USDT_MAINNET], stored.root.main_address, stored.root.fuel_address, fee_cap_sun)
    return LocalSigner(Seed(stored, KEY), bounds)


def test_the_seed_is_unreadable_without_its_key_and_never_shown() -> None:
    stored, words = new_seed(KEY)

    assert len(words.split()) == 24
    assert words.encode() not in stored.ciphertext
    assert repr(Seed(stored, KEY)) == "Seed(…)"
    with pytest.raises(KeyFileError):
        Seed(stored, bytes(32))


def test_addresses_derived_in_public_are_those_that_the_seed_signs_for() -> None:
    stored, _ = new_seed(KEY)
    addresses = DepositAddresses(stored.root.deposit_xpub)
    signer = signer_of(stored)

    for index in (0, 1, 77):
        wallet = DepositKey(index, addresses.deposit_address(index))
        for intent in (Collect(wallet, USDT_MAINNET, 5, 1000), Collect(wallet, NATIVE, 5, 0)):
            signed = signer.signed(intent, REFERENCE, 1)
            tx = Tx.from_bytes(signed.signed)
            assert tx.signers() == [tx.owner] == [to_raw_address(wallet.address)]
            assert hashlib.sha256(tx.raw).hexdigest() == signed.txid


def test_each_intent_becomes_its_own_kind_of_transaction_and_no_other() -> None:
    stored, _ = new_seed(KEY)
    signer = signer_of(stored)
    wallet = DepositKey(3, DepositAddresses(stored.root.deposit_xpub).deposit_address(3))
    main, fuel = to_raw_address(stored.root.main_address), to_raw_address(stored.root.fuel_address)

    def kind_of(intent: Intent) -> tuple[str, bytes]:
        tx = Tx.from_bytes(signer.signed(intent, REFERENCE, 1).signed)
        assert tx.signers() == [tx.owner]
        return tx.kind, tx.owner

    assert kind_of(Fuel(wallet, 7)) == ("TransferContract", fuel)
    assert kind_of(Stake(7)) == ("FreezeBalanceV2Contract", fuel)
    assert kind_of(Payout(1, NATIVE, STRANGER, 7, 0)) == ("TransferContract", main)
    assert kind_of(Payout(1, USDT_MAINNET, STRANGER, 7, 1000)) == ("TriggerSmartContract", main)
    assert kind_of(Delegate(wallet, 300_000_000)) == ("DelegateResourceContract", fuel)
    assert kind_of(Reclaim(wallet, 300_000_000)) == ("UnDelegateResourceContract", fuel)
    lent = Tx.from_bytes(signer.signed(Delegate(wallet, 300_000_000), REFERENCE, 1).signed).contract
    assert (lent.receiver_address, lent.resource, lent.balance) == (to_raw_address(wallet.address), 1, 300_000_000)


def test_the_signer_refuses_what_is_not_its_business() -> None:
    stored, _ = new_seed(KEY)
    other, _ = new_seed(KEY)
    signer = signer_of(stored, 1000)
    wallet = DepositKey(0, DepositAddresses(stored.root.deposit_xpub).deposit_address(0))
    foreign = DepositKey(0, DepositAddresses(other.root.deposit_xpub).deposit_address(0))

    for intent, why in (
        (Collect(wallet, USDT_MAINNET, 5, 1001), "fee limit"),
        (Collect(wallet, STRANGER, 5, 10), "no asset"),
        (Collect(wallet, USDT_MAINNET, 0, 10), "no amount"),
        (Collect(foreign, USDT_MAINNET, 5, 10), "does not hold"),
        (Fuel(wallet, 1001), "fuel"),
        (Fuel(foreign, 10), "does not hold"),
        (Delegate(foreign, 10), "does not hold"),
        (Payout(1, USDT_MAINNET, USDT_MAINNET, 5, 10), "no address"),
        (Payout(1, USDT_MAINNET, stored.root.main_address, 5, 10), "no address"),
        (Payout(1, NATIVE, STRANGER[:-1] + "t", 5, 0), "no address"),
    ):
        with pytest.raises(SignerRefused, match=why):
            signer.signed(intent, REFERENCE, 1)


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
    payment = Payment(
        1, 1, 1, "tron_usdt", 1, "T", "USDT", 10, 99, PaymentStatus.WAITING, 1, NOW, NOW, NOW, "tron"
    )
    chain_time = NOW if late else NOW - timedelta(seconds=1)

    found = next_status(
        payment, in_time=received, all_applied=applied, unswept=unswept, dust_below=5, chain_time=chain_time
    )

    assert found is expected


def test_addresses_are_those_of_bip44() -> None:
    stored, _ = new_seed(KEY)
    derived = DepositAddresses(stored.root.deposit_xpub)
    external = Bip44.FromExtendedKey(stored.root.deposit_xpub, Bip44Coins.TRON).Change(Bip44Changes.CHAIN_EXT)

    for index in (*range(200), 65_535, 2**24, 2**31 - 1):
        assert derived.deposit_address(index) == external.AddressIndex(index).PublicKey().ToAddress()


@pytest.mark.parametrize("index", [-1, 2**31])
def test_no_address_is_at_an_index_of_a_private_child(index: int) -> None:
    with pytest.raises(ValueError, match="no index"):
        DepositAddresses(new_seed(KEY)[0].root.deposit_xpub).deposit_address(index)
