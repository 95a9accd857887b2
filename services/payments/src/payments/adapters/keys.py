"""Keys: one BIP-39 seed, encrypted at rest, and what is derived from it (BIP-44, coin 195).

m/44'/195'/0'/0/i   the deposit wallets, by index; their addresses need the account's public key alone
m/44'/195'/1'/0/0   the main wallet
m/44'/195'/2'/0/0   the fuel wallet, which pays TRX for sweeps
"""

import secrets
from pathlib import Path

from bip_utils import (
    Bip39MnemonicGenerator,
    Bip39SeedGenerator,
    Bip39WordsNum,
    Bip44,
    Bip44Changes,
    Bip44Coins,
)
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from payments.domain.model import StoredSeed

DEPOSITS, MAIN, FUEL = 0, 1, 2
NONCE_BYTES = 12
_PURPOSE = b"garant wallet seed v1"


class KeyFileError(Exception):
    """The key file can't be used; the text names the setting."""


def read_key(path: Path) -> bytes:
    """Read the AES-256 key that encrypts the seed: 32 bytes in hex.

    Raises:
        KeyFileError: when there is no such file or it holds something else.
    """
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise KeyFileError(f"PAYMENTS_SEED_KEY_FILE={path} can't be read as hex") from error
    if len(key) != 32:
        raise KeyFileError(f"PAYMENTS_SEED_KEY_FILE={path} must hold 32 bytes in hex")
    return key


def new_seed(key: bytes) -> tuple[StoredSeed, str]:
    """Make a seed; return it encrypted, and its 24 words, which are shown once."""
    mnemonic = Bip39MnemonicGenerator().FromWordsNumber(Bip39WordsNum.WORDS_NUM_24)
    seed = bytes(Bip39SeedGenerator(mnemonic).Generate())
    nonce = secrets.token_bytes(NONCE_BYTES)
    stored = StoredSeed(
        nonce=nonce,
        ciphertext=AESGCM(key).encrypt(nonce, seed, _PURPOSE),
        deposit_xpub=_account(seed, DEPOSITS).PublicKey().ToExtended(),
        main_address=_node(seed, MAIN, 0).PublicKey().ToAddress(),
        fuel_address=_node(seed, FUEL, 0).PublicKey().ToAddress(),
    )
    return stored, str(mnemonic)


def _account(seed: bytes, account: int) -> Bip44:
    return Bip44.FromSeed(seed, Bip44Coins.TRON).Purpose().Coin().Account(account)


def _node(seed: bytes, account: int, index: int) -> Bip44:
    return _account(seed, account).Change(Bip44Changes.CHAIN_EXT).AddressIndex(index)


class DepositAddresses:
    """See `payments.domain.ports.Addresses`: public derivation, no private key near."""

    def __init__(self, xpub: str) -> None:
        account = Bip44.FromExtendedKey(xpub, Bip44Coins.TRON)
        self._external = account.Change(Bip44Changes.CHAIN_EXT)

    def deposit_address(self, index: int) -> str:
        """See the port."""
        return str(self._external.AddressIndex(index).PublicKey().ToAddress())


class Seed:
    """The seed in the clear, in memory alone; it shows itself to nobody."""

    def __init__(self, stored: StoredSeed, key: bytes) -> None:
        try:
            self._seed = AESGCM(key).decrypt(stored.nonce, stored.ciphertext, _PURPOSE)
        except InvalidTag as error:
            raise KeyFileError("PAYMENTS_SEED_KEY_FILE holds another key than the seed was made with") from error

    def __repr__(self) -> str:
        return "Seed(…)"

    def private_key(self, account: int, index: int) -> bytes:
        """Return a private key of 32 bytes."""
        return bytes(_node(self._seed, account, index).PrivateKey().Raw().ToBytes())
