"""A money command keeps the id of the request that asked for it, whoever posts it in the end."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; commands that are there already have none."""
    op.execute("ALTER TABLE money_command ADD COLUMN request_id text")
