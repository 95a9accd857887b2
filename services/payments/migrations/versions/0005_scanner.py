"""What the scanner sets aside, what the head shows, and the alarm of a chain that is not ours."""

from alembic import op

from common.migrate import statements

revision = "0005"
down_revision = "0004"

SCRIPT = """
-- A transaction of a solid block that could not be read or stored; the scan went on.
CREATE TABLE quarantined (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network text NOT NULL,
    height bigint NOT NULL,
    txid text NOT NULL,
    reason text NOT NULL,
    raw text NOT NULL CHECK (length(raw) <= 65536),
    created_at timestamptz NOT NULL,
    resolved_at timestamptz,
    UNIQUE (network, height, txid)
);
CREATE INDEX quarantined_open ON quarantined (id) WHERE resolved_at IS NULL;
CREATE INDEX quarantined_txid ON quarantined (network, txid) WHERE resolved_at IS NULL;

-- Why no node's chain fits on the cursor, while that is so; and the newest block, for display.
ALTER TABLE scan_cursor ADD COLUMN unlike text;
ALTER TABLE scan_cursor ADD COLUMN head_height bigint;

-- What blocks that are not solid yet would bring; it moves no money, and is replaced with its block.
CREATE TABLE seen_transfer (
    network text NOT NULL,
    block_hash text NOT NULL,
    txid text NOT NULL,
    place integer NOT NULL,
    height bigint NOT NULL,
    wallet_id bigint NOT NULL REFERENCES wallet,
    currency text NOT NULL,
    amount numeric(39, 0) NOT NULL CHECK (amount > 0),
    PRIMARY KEY (network, block_hash, txid, place)
);
CREATE INDEX seen_transfer_by_wallet ON seen_transfer (wallet_id);
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in statements(SCRIPT):
        op.execute(statement)
