"""Chats with messages that were not told as an event yet (ADR 0019).

Older messages were told one by one: no chat begins with any that are left.
"""

from alembic import op

from common.migrate import statements

revision = "0004"
down_revision = "0003"

SCRIPT = """
ALTER TABLE chat ADD COLUMN told_seq bigint NOT NULL DEFAULT 0;
UPDATE chat SET told_seq = last_seq WHERE last_seq > 0;

-- One row for any number of messages: stored with the first, removed with the event that tells of them all.
CREATE TABLE untold (chat_id uuid PRIMARY KEY REFERENCES chat);
"""


def upgrade() -> None:
    """Add the column and the table."""
    for statement in statements(SCRIPT):
        op.execute(statement)
