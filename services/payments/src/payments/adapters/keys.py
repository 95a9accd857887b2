"""Keys: one BIP-39 seed, encrypted at rest, and what is derived from it (BIP-44, coin 195).

m/44'/195'/0'/0/i   the deposit wallets, by index; their addresses need the account's public key alone
m/44'/195'/1'/0/0   the main wallet
m/44'/195'/2'/0/0   the fuel wallet, which pays TRX for sweeps
"""

import hmac
import secrets
from pathlib import Path
from typing import Any

from bip_utils import (
    Bip39Languages,
    Bip39MnemonicGenerator,
    Bip39MnemonicValidator,
    Bip39SeedGenerator,
    Bip39WordsNum,
    Bip44,
    Bip44Changes,
    Bip44Coins,
)
from bip_utils.bip.bip39.bip39_mnemonic_utils import Bip39WordsListGetter
from coincurve import PublicKey as CurvePoint
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tronpy.keys import public_key_to_base58check_addr

from payments.domain.errors import SeedRefused
from payments.domain.model import StoredSeed, WalletRoot

DEPOSITS, MAIN, FUEL = 0, 1, 2
NONCE_BYTES = 12
WORD_COUNTS = (12, 15, 18, 21, 24)
_PURPOSE = b"garant wallet seed v1"


SETTING = "PAYMENTS_SEED_KEY_FILE"


class KeyFileError(SeedRefused):
    """The key file can't be used; the text names the setting."""

    code = "seed_key_refused"


def read_key(path: Path, setting: str = SETTING) -> bytes:
    """Read the AES-256 key that encrypts the seed: 32 bytes in hex.

    Args:
        setting: what named the file; the errors name it.

    Raises:
        KeyFileError: when there is no such file or it holds something else.
    """
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError):  # the cause would show what is in the file
        raise KeyFileError(f"{setting}={path} can't be read as hex") from None
    if len(key) != 32:
        raise KeyFileError(f"{setting}={path} must hold 32 bytes in hex")
    return key


def new_seed(key: bytes) -> tuple[StoredSeed, str]:
    """Make a seed; return it encrypted, and its 24 words, which are shown once."""
    mnemonic = Bip39MnemonicGenerator().FromWordsNumber(Bip39WordsNum.WORDS_NUM_24)
    return encrypted(bytes(Bip39SeedGenerator(mnemonic).Generate()), key), str(mnemonic)


def seed_of_words(words: str, key: bytes) -> StoredSeed:
    """Return the encrypted seed of a mnemonic (BIP-39, English, without a passphrase).

    Raises:
        SeedRefused: when the words are none; it tells their places, never the words.
    """
    given = words.lower().split()
    if len(given) not in WORD_COUNTS:
        raise SeedRefused(f"a mnemonic has 12, 15, 18, 21 or 24 words, not {len(given)}")
    known = Bip39WordsListGetter().GetByLanguage(Bip39Languages.ENGLISH)
    unknown = [str(place) for place, word in enumerate(given, 1) if not _is_known(known, word)]
    if unknown:
        raise SeedRefused(f"no words of BIP-39's English list: word {', '.join(unknown)}")
    mnemonic = " ".join(given)
    if not Bip39MnemonicValidator(Bip39Languages.ENGLISH).IsValid(mnemonic):
        raise SeedRefused("the checksum of the words is wrong: one of them is another, or their order is")
    return encrypted(bytes(Bip39SeedGenerator(mnemonic, Bip39Languages.ENGLISH).Generate()), key)


def _is_known(known: Any, word: str) -> bool:
    try:
        known.GetWordIdx(word)
    except ValueError:
        return False
    return True


def encrypted(seed: bytes, key: bytes) -> StoredSeed:
    """Encrypt a seed under a new nonce, with what is derived from it in public."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return StoredSeed(nonce, AESGCM(key).encrypt(nonce, seed, _PURPOSE), root_of(seed))


def root_of(seed: bytes) -> WalletRoot:
    """Return what is derived from a seed in public."""
    return WalletRoot(
        deposit_xpub=_account(seed, DEPOSITS).PublicKey().ToExtended(),
        main_address=_node(seed, MAIN, 0).PublicKey().ToAddress(),
        fuel_address=_node(seed, FUEL, 0).PublicKey().ToAddress(),
    )


def decrypted(stored: StoredSeed, key: bytes, setting: str = SETTING) -> bytes:
    """Return the seed in the clear.

    Raises:
        KeyFileError: when the key is not the one that it was encrypted with.
    """
    try:
        return AESGCM(key).decrypt(stored.nonce, stored.ciphertext, _PURPOSE)
    except InvalidTag:
        raise KeyFileError(f"{setting} holds another key than the seed was encrypted with") from None


def _account(seed: bytes, account: int) -> Bip44:
    return Bip44.FromSeed(seed, Bip44Coins.TRON).Purpose().Coin().Account(account)


def _node(seed: bytes, account: int, index: int) -> Bip44:
    return _account(seed, account).Change(Bip44Changes.CHAIN_EXT).AddressIndex(index)


class DepositAddresses:
    """See `payments.domain.ports.Addresses`: public derivation, no private key near.

    The last step (BIP-32, CKDpub) is done here: bip-utils wraps each key in checks that take five times as long.
    """

    def __init__(self, xpub: str) -> None:
        account = Bip44.FromExtendedKey(xpub, Bip44Coins.TRON)
        external = account.Change(Bip44Changes.CHAIN_EXT).PublicKey()
        self._point = external.RawCompressed().ToBytes()
        self._key = CurvePoint(self._point)
        self._chain_code = external.ChainCode().ToBytes()

    def deposit_address(self, index: int) -> str:
        """See the port."""
        if not 0 <= index < 2**31:
            raise ValueError(f"{index} is no index of a public child")
        tweak = hmac.digest(self._chain_code, self._point + index.to_bytes(4, "big"), "sha512")[:32]
        return str(public_key_to_base58check_addr(self._key.add(tweak).format(compressed=False)[1:]))


class Seed:
    """The seed in the clear, in memory alone; it shows itself to nobody."""

    def __init__(self, stored: StoredSeed, key: bytes) -> None:
        self._seed = decrypted(stored, key)

    def __repr__(self) -> str:
        return "Seed(…)"

    def private_key(self, account: int, index: int) -> bytes:
        """Return a private key of 32 bytes."""
        return bytes(_node(self._seed, account, index).PrivateKey().Raw().ToBytes())
