"""Retries from outside and dead letters."""

from alembic import op

from common.migrate import RETRIES_AND_DEAD_LETTERS, statements

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    for statement in statements(RETRIES_AND_DEAD_LETTERS):
        op.execute(statement)
