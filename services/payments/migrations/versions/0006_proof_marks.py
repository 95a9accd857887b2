"""How far our books were proven, so that a pass reads what is new and not what ever was."""

from alembic import op

from common.migrate import statements

revision = "0006"
down_revision = "0005"

SCRIPT = """
-- Up to where something was compared. A place behind which a transaction may still be open is kept beside, until
-- it has settled: `next_place` was seen first at `next_since`.
CREATE TABLE proof_mark (
    name text PRIMARY KEY,
    place text NOT NULL,
    next_place text,
    next_since timestamptz,
    CHECK ((next_place IS NULL) = (next_since IS NULL))
);

-- What was wrong, by the mark's name: each pass looks at it again, since an alarm wants two.
CREATE TABLE proof_suspect (
    name text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (name, key)
);

-- What the transfers stored until a moment say that a wallet of our own has: what came later is added to it.
CREATE TABLE proven_sum (
    network text NOT NULL,
    address text NOT NULL,
    currency text NOT NULL,
    units numeric(38, 0) NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (network, address, currency)
);

-- The ledger has what we noted as applied: rows of which that was not seen yet, or was wrong, are few.
ALTER TABLE transfer ADD COLUMN proven boolean NOT NULL DEFAULT false;
CREATE INDEX transfer_not_proven ON transfer (network, txid, log_index)
    WHERE class = 'deposit' AND applied_at IS NOT NULL AND NOT proven;
ALTER TABLE booking ADD COLUMN proven boolean NOT NULL DEFAULT false;
CREATE INDEX booking_not_proven ON booking (key) WHERE applied_at IS NOT NULL AND NOT proven;

-- When the database learned of a fee, and a wallet's transfers by when they were stored.
ALTER TABLE outgoing ADD COLUMN settled_at timestamptz;
UPDATE outgoing SET settled_at = created_at WHERE fee_sun IS NOT NULL;
DROP INDEX outgoing_by_payer;
CREATE INDEX outgoing_by_payer ON outgoing (network, payer, settled_at) WHERE fee_sun > 0;
DROP INDEX transfer_to;
CREATE INDEX transfer_to ON transfer (network, to_address, stored_at);
DROP INDEX transfer_from;
CREATE INDEX transfer_from ON transfer (network, from_address, stored_at);

-- What changed within a day is compared with the outbox.
CREATE INDEX transfer_stored ON transfer (stored_at) WHERE class = 'deposit';
CREATE INDEX payment_created ON payment (created_at);
CREATE INDEX withdrawal_created ON withdrawal (created_at);
CREATE INDEX sweep_swept ON sweep (updated_at) WHERE step = 'swept';
"""


def upgrade() -> None:
    """Create the tables, columns and indexes."""
    for statement in statements(SCRIPT):
        op.execute(statement)
