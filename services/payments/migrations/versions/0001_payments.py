"""Wallets, payments, the scanner's cursor, transfers and sweeps."""

from alembic import op

from common.migrate import OUTBOX_AND_INBOX, statements

revision = "0001"
down_revision = None

SCRIPT = """
-- One seed, encrypted with a key that is not in this database (ADR 0008).
CREATE TABLE wallet_seed (
    id smallint PRIMARY KEY CHECK (id = 1),
    nonce bytea NOT NULL CHECK (length(nonce) = 12),
    ciphertext bytea NOT NULL,
    deposit_xpub text NOT NULL,
    main_address text NOT NULL,
    fuel_address text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE SEQUENCE wallet_index MINVALUE 0 MAXVALUE 2147483647 START 0;

-- A wallet belongs to one user for ever and is watched for ever.
CREATE TABLE wallet (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    user_id bigint NOT NULL,
    gateway_id text NOT NULL,
    network text NOT NULL,
    derivation_index bigint NOT NULL,
    address text NOT NULL,
    status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'received', 'transferred')),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (network, address),
    UNIQUE (network, derivation_index)
);
CREATE INDEX wallet_by_user ON wallet (tenant_id, user_id, gateway_id);

CREATE TABLE payment (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    user_id bigint NOT NULL,
    gateway_id text NOT NULL,
    wallet_id bigint NOT NULL REFERENCES wallet,
    currency text NOT NULL,
    amount numeric(38, 0) NOT NULL CHECK (amount > 0),
    received numeric(38, 0) NOT NULL DEFAULT 0 CHECK (received >= 0),
    status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'success', 'expired')),
    created_height bigint NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX payment_waiting ON payment (wallet_id) WHERE status = 'waiting';
CREATE INDEX payment_by_wallet ON payment (wallet_id, created_height DESC, id DESC);
CREATE INDEX payment_expiring ON payment (expires_at) WHERE status = 'waiting';

CREATE TABLE scan_cursor (
    network text PRIMARY KEY,
    height bigint NOT NULL,
    hash text NOT NULL,
    block_time timestamptz NOT NULL
);

-- Every solid transfer that touches us, once: two logs of one transaction are two transfers.
CREATE TABLE transfer (
    network text NOT NULL,
    txid text NOT NULL,
    log_index integer NOT NULL,
    class text NOT NULL CHECK (class IN ('deposit', 'own', 'funding', 'unexplained')),
    height bigint NOT NULL,
    block_time timestamptz NOT NULL,
    currency text NOT NULL,
    amount numeric(38, 0) NOT NULL CHECK (amount > 0),
    from_address text NOT NULL,
    to_address text NOT NULL,
    wallet_id bigint REFERENCES wallet,
    payment_id bigint REFERENCES payment,
    applied_at timestamptz,
    PRIMARY KEY (network, txid, log_index),
    CHECK (class <> 'deposit' OR wallet_id IS NOT NULL)
);
CREATE INDEX transfer_by_wallet ON transfer (wallet_id) WHERE class = 'deposit';
CREATE INDEX transfer_by_payment ON transfer (payment_id) WHERE class = 'deposit';
CREATE INDEX transfer_not_applied ON transfer (block_time) WHERE class = 'deposit' AND applied_at IS NULL;

-- A sweep is a sequence of steps; each is committed before it is done.
CREATE TABLE sweep (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wallet_id bigint NOT NULL REFERENCES wallet,
    currency text NOT NULL,
    amount numeric(38, 0) NOT NULL CHECK (amount > 0),
    step text NOT NULL DEFAULT 'planned' CHECK (step IN ('planned', 'fueling', 'transferring', 'swept')),
    tries integer NOT NULL DEFAULT 0,
    last_error text,
    due_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX sweep_active ON sweep (wallet_id, currency) WHERE step <> 'swept';
CREATE INDEX sweep_due ON sweep (due_at) WHERE step <> 'swept';
CREATE INDEX sweep_by_wallet ON sweep (wallet_id, currency) WHERE step = 'swept';

-- What we signed, stored before it is broadcast.
CREATE TABLE outgoing (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sweep_id bigint NOT NULL REFERENCES sweep,
    purpose text NOT NULL CHECK (purpose IN ('fuel', 'transfer')),
    network text NOT NULL,
    txid text NOT NULL,
    signed bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'sent' CHECK (state IN ('sent', 'succeeded', 'failed', 'dead')),
    height bigint,
    fee_sun bigint,
    created_at timestamptz NOT NULL,
    UNIQUE (network, txid)
);
CREATE UNIQUE INDEX outgoing_in_flight ON outgoing (sweep_id) WHERE state = 'sent';
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in statements(OUTBOX_AND_INBOX + SCRIPT):
        op.execute(statement)
