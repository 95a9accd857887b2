"""The encrypted seed in the signer's schema, and its public part, which everybody in payments may read."""

import sqlalchemy as sa

from common.db import Connection
from payments.domain.model import StoredSeed, WalletRoot

_FIELDS = "nonce, ciphertext, deposit_xpub, main_address, fuel_address"
_READ = sa.text(f"SELECT {_FIELDS} FROM signer.seed WHERE id = 1")
_LOCK = sa.text(f"SELECT {_FIELDS} FROM signer.seed WHERE id = 1 FOR UPDATE")
_INSERT = sa.text(
    """
    INSERT INTO signer.seed (id, nonce, ciphertext, deposit_xpub, main_address, fuel_address)
    VALUES (1, :nonce, :ciphertext, :deposit_xpub, :main_address, :fuel_address) ON CONFLICT DO NOTHING
    """
)
_ENCRYPT_ANEW = sa.text("UPDATE signer.seed SET nonce = :nonce, ciphertext = :ciphertext WHERE id = 1")
_ROOT = sa.text("SELECT deposit_xpub, main_address, fuel_address FROM wallet_root")


async def read(connection: Connection, *, lock: bool = False) -> StoredSeed | None:
    """Return the seed, or None where none was made; locked until the transaction ends, if so wanted."""
    row = await connection.first(_LOCK if lock else _READ)
    return None if row is None else StoredSeed(bytes(row[0]), bytes(row[1]), WalletRoot(row[2], row[3], row[4]))


async def root(connection: Connection) -> WalletRoot | None:
    """Return the public part of the seed, or None where none was made."""
    row = await connection.first(_ROOT)
    return None if row is None else WalletRoot(*row)


async def insert(connection: Connection, seed: StoredSeed) -> bool:
    """Store the seed unless there is one; tell whether it was stored."""
    values = {
        "nonce": seed.nonce,
        "ciphertext": seed.ciphertext,
        "deposit_xpub": seed.root.deposit_xpub,
        "main_address": seed.root.main_address,
        "fuel_address": seed.root.fuel_address,
    }
    return await connection.count(_INSERT, values) == 1


async def encrypt_anew(connection: Connection, seed: StoredSeed) -> None:
    """Replace the locked seed's ciphertext; what is derived from it stays."""
    await connection.execute(_ENCRYPT_ANEW, {"nonce": seed.nonce, "ciphertext": seed.ciphertext})
