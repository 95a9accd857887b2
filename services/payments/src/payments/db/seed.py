"""The encrypted seed in PostgreSQL."""

import sqlalchemy as sa

from common.db import Connection
from payments.domain.model import StoredSeed

_READ = sa.text("SELECT nonce, ciphertext, deposit_xpub, main_address, fuel_address FROM wallet_seed WHERE id = 1")
_INSERT = sa.text(
    """
    INSERT INTO wallet_seed (id, nonce, ciphertext, deposit_xpub, main_address, fuel_address)
    VALUES (1, :nonce, :ciphertext, :deposit_xpub, :main_address, :fuel_address) ON CONFLICT DO NOTHING
    """
)


async def read(connection: Connection) -> StoredSeed | None:
    """Return the seed, or None where none was made."""
    row = await connection.first(_READ)
    return None if row is None else StoredSeed(bytes(row[0]), bytes(row[1]), row[2], row[3], row[4])


async def insert(connection: Connection, seed: StoredSeed) -> bool:
    """Store the seed unless there is one; tell whether it was stored."""
    values = {
        "nonce": seed.nonce,
        "ciphertext": seed.ciphertext,
        "deposit_xpub": seed.deposit_xpub,
        "main_address": seed.main_address,
        "fuel_address": seed.fuel_address,
    }
    return await connection.count(_INSERT, values) == 1
