"""A tenant can be closed: its keys are revoked, no new one is made, and its money stays."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; no tenant that is there is closed."""
    op.execute("ALTER TABLE tenant ADD COLUMN closed_at timestamptz")
