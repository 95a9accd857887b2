"""Make the seed once, restore it from its words, change its key, check it. Nothing here logs a word or a key."""

from collections.abc import Callable
from enum import StrEnum

from common.db import Database
from payments.adapters.keys import KeyFileError, decrypted, encrypted, root_of, seed_of_words
from payments.db import seed as rows
from payments.domain.errors import SeedRefused
from payments.domain.model import StoredSeed, WalletRoot

NO_SEED = "there is no seed in SIGNER_DATABASE_URL; create-seed makes one, restore-seed takes its words"


class Restored(StrEnum):
    """What restoring did."""

    STORED = "stored"
    UNCHANGED = "it was stored already"
    ENCRYPTED_ANEW = "it was stored already, and is encrypted with this key file now"


async def read_seed(database: Database) -> StoredSeed | None:
    """Return the stored seed, or None."""
    async with database.transaction() as connection:
        return await rows.read(connection)


async def read_root(database: Database) -> WalletRoot | None:
    """Return the public part of the seed, or None."""
    async with database.transaction() as connection:
        return await rows.root(connection)


async def create_seed(
    database: Database, make: Callable[[], tuple[StoredSeed, str]]
) -> tuple[StoredSeed, str | None]:
    """Store a new seed unless there is one; return the stored one, and the words of a new one."""
    made, words = make()
    async with database.transaction() as connection:
        fresh = await rows.insert(connection, made)
        stored = await rows.read(connection)
    assert stored is not None
    return stored, words if fresh else None


async def restore_seed(database: Database, words: str, key: bytes) -> tuple[WalletRoot, Restored]:
    """Store the seed of these words; where it is stored under a key that is lost, encrypt it with this one.

    Raises:
        SeedRefused: when the words are no mnemonic, or another seed is stored.
    """
    given = seed_of_words(words, key)
    async with database.transaction() as connection:
        if await rows.insert(connection, given):
            return given.root, Restored.STORED
        stored = await rows.read(connection, lock=True)
        assert stored is not None, "a seed is never removed"
        if stored.root != given.root:
            raise SeedRefused(f"another seed is stored, whose main wallet is {stored.root.main_address}")
        if _opens(stored, key):
            return stored.root, Restored.UNCHANGED
        await rows.encrypt_anew(connection, given)
    return stored.root, Restored.ENCRYPTED_ANEW


def _opens(stored: StoredSeed, key: bytes) -> bool:
    try:
        decrypted(stored, key)
    except KeyFileError:
        return False
    return True


async def rotate_key(database: Database, old: bytes, new: bytes) -> None:
    """Encrypt the seed with a new key, in one transaction: the old key opens nothing afterwards.

    Raises:
        SeedRefused: when there is no seed, the keys are the same, or the seed has the new key already.
        KeyFileError: when the old key is not the seed's.
    """
    if old == new:
        raise SeedRefused("the new key file holds the same key as PAYMENTS_SEED_KEY_FILE")
    async with database.transaction() as connection:
        stored = await rows.read(connection, lock=True)
        if stored is None:
            raise SeedRefused(NO_SEED)
        if _opens(stored, new):
            raise SeedRefused("the seed has the new key already; let PAYMENTS_SEED_KEY_FILE name that file")
        await rows.encrypt_anew(connection, encrypted(decrypted(stored, old), new))


async def check_seed(database: Database, key: bytes) -> WalletRoot:
    """Open the seed, derive its public part again, and return that.

    Raises:
        SeedRefused: when there is no seed, or what is stored beside it does not fit.
        KeyFileError: when the key does not open it.
    """
    stored = await read_seed(database)
    if stored is None:
        raise SeedRefused(NO_SEED)
    root = root_of(decrypted(stored, key))
    for name in ("deposit_xpub", "main_address", "fuel_address"):
        if getattr(root, name) != getattr(stored.root, name):
            raise SeedRefused(f"the stored {name} is not the seed's")
    return root
