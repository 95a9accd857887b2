"""Retries from outside, dead letters, and what a wallet has by our own transfers."""

from alembic import op

from common.migrate import RETRIES_AND_DEAD_LETTERS, statements

revision = "0002"
down_revision = "0001"

SCRIPT = """
CREATE INDEX transfer_to ON transfer (network, to_address);
CREATE INDEX transfer_from ON transfer (network, from_address);
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in statements(RETRIES_AND_DEAD_LETTERS + SCRIPT):
        op.execute(statement)
