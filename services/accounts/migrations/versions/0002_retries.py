"""Retries from outside, dead letters, and the listing of deposits."""

from alembic import op

from common.migrate import RETRIES_AND_DEAD_LETTERS, statements

revision = "0002"
down_revision = "0001"

SCRIPT = """
-- Payments compares its deposits with ours, in our order.
CREATE INDEX operation_deposit ON operation (id) WHERE kind = 'deposit';
-- Deals compares what its deals hold with ours.
CREATE INDEX account_held ON account (id) WHERE kind = 'deal' AND balance > 0;
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in statements(RETRIES_AND_DEAD_LETTERS + SCRIPT):
        op.execute(statement)
