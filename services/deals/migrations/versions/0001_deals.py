"""Deals, their money commands and the funding passes."""

from alembic import op

from common.migrate import OUTBOX_AND_INBOX, statements

revision = "0001"
down_revision = None

SCRIPT = """
CREATE TABLE deal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    chat_id uuid NOT NULL UNIQUE,
    title text NOT NULL,
    description text NOT NULL,
    price numeric(38, 0) NOT NULL CHECK (price > 0),
    currency text NOT NULL,
    customer_id bigint NOT NULL,
    performer_id bigint NOT NULL CHECK (performer_id <> customer_id),
    status text NOT NULL CHECK (status IN (
        'created', 'deny_performer', 'waiting_for_payment', 'confirm_performer', 'confirmed', 'dispute',
        'close', 'arb_close_performer', 'arb_close_customer', 'cancelled', 'expired')),
    deadline_at timestamptz,
    overdue_at timestamptz,
    dispute_title text,
    dispute_description text,
    dispute_opened_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((dispute_title IS NULL) = (dispute_opened_at IS NULL)),
    CHECK ((dispute_title IS NULL) = (dispute_description IS NULL)),
    CHECK (dispute_title IS NOT NULL
        OR status NOT IN ('dispute', 'arb_close_performer', 'arb_close_customer'))
);
CREATE INDEX deal_by_tenant ON deal (tenant_id, id DESC);
CREATE INDEX deal_by_customer ON deal (tenant_id, customer_id, id DESC);
CREATE INDEX deal_by_performer ON deal (tenant_id, performer_id, id DESC);
CREATE INDEX deal_waiting ON deal (tenant_id, customer_id, currency, id) WHERE status = 'waiting_for_payment';
CREATE INDEX deal_deadline ON deal (deadline_at) WHERE deadline_at IS NOT NULL AND overdue_at IS NULL
    AND status IN ('created', 'waiting_for_payment', 'confirm_performer', 'confirmed', 'dispute');

CREATE TABLE money_command (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deal_id bigint NOT NULL REFERENCES deal,
    action text NOT NULL CHECK (action IN ('confirm', 'fund', 'close', 'close_performer', 'close_customer')),
    kind text NOT NULL CHECK (kind IN ('hold', 'release', 'refund')),
    key text NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'applied', 'rejected', 'voided')),
    void_to text CHECK (void_to IN ('cancelled', 'expired')),
    reason text,
    tries integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    CHECK (void_to IS NULL OR kind = 'hold')
);
-- One movement of money at a time: every other action meanwhile is refused.
CREATE UNIQUE INDEX money_command_in_flight ON money_command (deal_id) WHERE state = 'pending';
CREATE INDEX money_command_due ON money_command (due_at) WHERE state = 'pending';

-- A pass over the waiting deals of one customer in one currency is due while wanted > done.
CREATE TABLE funding (
    tenant_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    currency text NOT NULL,
    wanted bigint NOT NULL DEFAULT 1,
    done bigint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, customer_id, currency)
);
CREATE INDEX funding_due ON funding (due_at) WHERE wanted > done;
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in statements(OUTBOX_AND_INBOX + SCRIPT):
        op.execute(statement)
