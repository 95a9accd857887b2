"""The signer's own schema: the seed moves there, and what the signer let go is counted there.

The role of the API and the worker has no right in it; it reads the public part of the seed through a view, which
can't be written through (LIMIT).
"""

from alembic import op

from common.migrate import statements

revision = "0003"
down_revision = "0002"

SCRIPT = """
CREATE SCHEMA IF NOT EXISTS signer;

-- One seed, encrypted with a key that is not in this database (ADR 0008).
CREATE TABLE signer.seed (
    id smallint PRIMARY KEY CHECK (id = 1),
    nonce bytea NOT NULL CHECK (length(nonce) = 12),
    ciphertext bytea NOT NULL,
    deposit_xpub text NOT NULL,
    main_address text NOT NULL,
    fuel_address text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO signer.seed (id, nonce, ciphertext, deposit_xpub, main_address, fuel_address, created_at)
    SELECT id, nonce, ciphertext, deposit_xpub, main_address, fuel_address, created_at FROM wallet_seed;
DROP TABLE wallet_seed;
CREATE VIEW wallet_root AS SELECT deposit_xpub, main_address, fuel_address FROM signer.seed LIMIT 1;

-- What was signed in an hour or a day, by the name of what is limited (ADR 0014).
CREATE TABLE signer.spent (
    name text NOT NULL,
    begins_at timestamptz NOT NULL,
    amount numeric(38, 0) NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (name, begins_at)
);

-- A withdrawal is signed for one recipient and amount for ever; its last transaction is kept.
CREATE TABLE signer.payout (
    withdrawal_id bigint PRIMARY KEY,
    asset text NOT NULL,
    recipient text NOT NULL,
    amount numeric(38, 0) NOT NULL CHECK (amount > 0),
    tries integer NOT NULL DEFAULT 0,
    txid text UNIQUE,
    signed bytea,
    expires_at timestamptz
);

-- Addresses that could have been given out before a restore; nobody knows to whom.
CREATE TABLE ownerless_address (
    network text NOT NULL,
    address text NOT NULL,
    derivation_index bigint NOT NULL,
    PRIMARY KEY (network, address)
);
"""


def upgrade() -> None:
    """Move the seed and create the tables."""
    for statement in statements(SCRIPT):
        op.execute(statement)
