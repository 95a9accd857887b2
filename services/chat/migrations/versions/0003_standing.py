"""Where a chat's deal stands, how far each party has read, messages that may be sent again, and system events.

Only columns with a constant default or none are added, so no table is written anew and old code goes on beside it.
"""

from alembic import op

from common.migrate import statements

revision = "0003"
down_revision = "0002"

SCRIPT = """
-- The deal's standing as its events and deals itself told it; NULL and version 0 where nobody has told it yet.
ALTER TABLE chat
    ADD COLUMN status text,
    ADD COLUMN deal_version bigint NOT NULL DEFAULT 0,
    ADD COLUMN ended_at timestamptz,
    ADD COLUMN last_system_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN customer_read_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN performer_read_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN arbiter_read_seq bigint NOT NULL DEFAULT 0;

-- What a client calls its own message, so that sending it again stores nothing. No older row has one, so there is
-- nothing to validate.
ALTER TABLE message ADD COLUMN client_msg_id text;
ALTER TABLE message ADD CONSTRAINT message_client_msg_id
    CHECK (length(client_msg_id) BETWEEN 1 AND 64) NOT VALID;
CREATE UNIQUE INDEX message_by_client ON message (chat_id, COALESCE(user_id, 0), client_msg_id)
    WHERE client_msg_id IS NOT NULL;

-- What the system says in a chat: each transition of its deal, once.
CREATE TABLE system_event (
    chat_id uuid NOT NULL REFERENCES chat,
    seq bigint NOT NULL CHECK (seq > 0),
    type text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    event_id uuid NOT NULL UNIQUE,
    UNIQUE (chat_id, seq)
);
"""


def upgrade() -> None:
    """Add the columns and the table."""
    for statement in statements(SCRIPT):
        op.execute(statement)
