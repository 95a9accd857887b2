"""More than one asset: named arrivals, our own wallets, what is booked besides deposits, lent energy, payouts."""

from alembic import op

from common.migrate import statements

revision = "0004"
down_revision = "0003"

SCRIPT = """
-- What an arrival was to the payment it belongs to; every one of them is credited.
ALTER TABLE transfer ADD COLUMN arrival text
    CHECK (arrival IN ('exact', 'under', 'over', 'late', 'extra', 'other_currency', 'unasked'));
UPDATE transfer SET arrival = 'unasked' WHERE class = 'deposit';
-- How late a credit is counts from when we knew of the deposit.
ALTER TABLE transfer ADD COLUMN stored_at timestamptz NOT NULL DEFAULT now();
DROP INDEX transfer_not_applied;
CREATE INDEX transfer_not_applied ON transfer (stored_at) WHERE class = 'deposit' AND applied_at IS NULL;
-- The gateway of what was moved, which need not be the wallet's own.
ALTER TABLE transfer ADD COLUMN gateway_id text NOT NULL DEFAULT 'tron_usdt';
ALTER TABLE transfer ALTER COLUMN gateway_id DROP DEFAULT;
ALTER TABLE transfer ADD CHECK ((class = 'deposit') = (arrival IS NOT NULL));

-- The main and the fuel wallet, from the block on that their books begin at.
CREATE TABLE own_wallet (
    network text NOT NULL,
    address text NOT NULL,
    opened_height bigint NOT NULL,
    PRIMARY KEY (network, address)
);

CREATE TABLE withdrawal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    user_id bigint NOT NULL,
    gateway_id text NOT NULL,
    currency text NOT NULL,
    amount numeric(38, 0) NOT NULL CHECK (amount > 0),
    address text NOT NULL,
    status text NOT NULL DEFAULT 'requested' CHECK (status IN (
        'requested', 'awaiting_approval', 'queued', 'sent', 'paying', 'returning',
        'success', 'failed', 'rejected', 'cancelled')),
    reason text,
    ends_as text CHECK (ends_as IN ('failed', 'cancelled')),
    request_key text,
    needs_approval boolean NOT NULL,
    requested_by bigint NOT NULL,
    approved_by bigint,
    version bigint NOT NULL DEFAULT 1,
    tries integer NOT NULL DEFAULT 0,
    last_error text,
    due_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (tenant_id, request_key),
    CHECK (approved_by <> requested_by),
    CHECK (status <> 'returning' OR ends_as IS NOT NULL)
);
CREATE INDEX withdrawal_due ON withdrawal (due_at)
    WHERE status IN ('requested', 'queued', 'sent', 'paying', 'returning');
CREATE INDEX withdrawal_by_key ON withdrawal (requested_by, currency, created_at);
CREATE INDEX withdrawal_by_tenant ON withdrawal (tenant_id, id);

-- Wallets whose credits changed since their sweep was last thought of: a pass reads these alone.
CREATE TABLE sweep_recheck (
    wallet_id bigint NOT NULL REFERENCES wallet,
    currency text NOT NULL,
    PRIMARY KEY (wallet_id, currency)
);
INSERT INTO sweep_recheck SELECT DISTINCT wallet_id, currency FROM transfer WHERE class = 'deposit';
CREATE INDEX payment_paid ON payment (id) WHERE status = 'waiting' AND received >= amount;

-- Energy that a sweep's wallet was lent stays noted until it is back.
ALTER TABLE sweep ADD COLUMN gateway_id text NOT NULL DEFAULT 'tron_usdt';
ALTER TABLE sweep ALTER COLUMN gateway_id DROP DEFAULT;
ALTER TABLE sweep ADD COLUMN lent_sun bigint NOT NULL DEFAULT 0 CHECK (lent_sun >= 0);
ALTER TABLE sweep DROP CONSTRAINT sweep_step_check;
ALTER TABLE sweep ADD CONSTRAINT sweep_step_check
    CHECK (step IN ('planned', 'fueling', 'delegating', 'transferring', 'reclaiming', 'swept'));
DROP INDEX sweep_due;
CREATE INDEX sweep_due ON sweep (due_at) WHERE step <> 'swept' OR lent_sun > 0;

ALTER TABLE outgoing ALTER COLUMN sweep_id DROP NOT NULL;
ALTER TABLE outgoing ADD COLUMN withdrawal_id bigint REFERENCES withdrawal;
ALTER TABLE outgoing ADD COLUMN payer text;
ALTER TABLE outgoing ADD COLUMN promised_sun bigint NOT NULL DEFAULT 0;
UPDATE outgoing o SET payer = CASE WHEN o.purpose = 'transfer' THEN w.address ELSE d.fuel_address END
  FROM sweep s JOIN wallet w ON w.id = s.wallet_id, signer.seed d WHERE s.id = o.sweep_id;
ALTER TABLE outgoing ALTER COLUMN payer SET NOT NULL;
ALTER TABLE outgoing DROP CONSTRAINT outgoing_purpose_check;
ALTER TABLE outgoing ADD CONSTRAINT outgoing_purpose_check
    CHECK (purpose IN ('fuel', 'delegate', 'transfer', 'reclaim', 'payout', 'stake'));
ALTER TABLE outgoing ADD CHECK (
    CASE purpose WHEN 'payout' THEN withdrawal_id IS NOT NULL AND sweep_id IS NULL
                 WHEN 'stake' THEN withdrawal_id IS NULL AND sweep_id IS NULL
                 ELSE sweep_id IS NOT NULL AND withdrawal_id IS NULL END);
CREATE UNIQUE INDEX outgoing_payout_in_flight ON outgoing (withdrawal_id) WHERE state = 'sent';
CREATE INDEX outgoing_by_payer ON outgoing (network, payer) WHERE fee_sun > 0;
CREATE INDEX outgoing_by_sweep ON outgoing (sweep_id);
CREATE INDEX outgoing_by_withdrawal ON outgoing (withdrawal_id);

-- What the ledger has to know of the chain besides deposits: our own capital, and what was burned or charged.
CREATE TABLE booking (
    key text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('funding', 'fee', 'payout')),
    tenant_id bigint NOT NULL,
    currency text NOT NULL,
    giver text NOT NULL,
    taker text NOT NULL,
    amount numeric(38, 0) NOT NULL CHECK (amount > 0),
    created_at timestamptz NOT NULL,
    applied_at timestamptz
);
CREATE INDEX booking_not_applied ON booking (created_at) WHERE applied_at IS NULL;
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in statements(SCRIPT):
        op.execute(statement)
