"""When a posting is due: what the ledger refused waits longer each time, and holds up nothing behind it."""

from alembic import op

from common.migrate import statements

revision = "0007"
down_revision = "0006"

SCRIPT = """
ALTER TABLE transfer ADD COLUMN due_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE transfer ADD COLUMN refusals integer NOT NULL DEFAULT 0;
CREATE INDEX transfer_due ON transfer (due_at) WHERE class = 'deposit' AND applied_at IS NULL;
ALTER TABLE booking ADD COLUMN due_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE booking ADD COLUMN refusals integer NOT NULL DEFAULT 0;
CREATE INDEX booking_due ON booking (due_at) WHERE applied_at IS NULL;
"""


def upgrade() -> None:
    """Add the columns and their indexes."""
    for statement in statements(SCRIPT):
        op.execute(statement)
