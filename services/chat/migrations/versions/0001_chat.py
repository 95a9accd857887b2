"""Chats and their messages."""

from alembic import op

from common.migrate import OUTBOX_AND_INBOX, statements

revision = "0001"
down_revision = None

SCRIPT = """
-- What chat knows of a deal; the parties never change, so the copy never ages.
CREATE TABLE chat (
    id uuid PRIMARY KEY,
    deal_id bigint NOT NULL,
    tenant_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    performer_id bigint NOT NULL,
    last_seq bigint NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

CREATE TABLE message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chat_id uuid NOT NULL REFERENCES chat,
    seq bigint NOT NULL CHECK (seq > 0),
    user_id bigint,
    role text NOT NULL CHECK (role IN ('customer', 'performer', 'arbiter')),
    text text NOT NULL CHECK (length(text) BETWEEN 1 AND 4000),
    created_at timestamptz NOT NULL,
    UNIQUE (chat_id, seq),
    CHECK ((user_id IS NULL) = (role = 'arbiter'))
);
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in statements(OUTBOX_AND_INBOX + SCRIPT):
        op.execute(statement)
