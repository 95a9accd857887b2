"""Tenants, keys, users and the ledger."""

from alembic import op

from common.migrate import OUTBOX_AND_INBOX, statements

revision = "0001"
down_revision = None

SCRIPT = """
CREATE TABLE tenant (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_key (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenant,
    key_hash text NOT NULL UNIQUE CHECK (key_hash ~ '^[0-9a-f]{64}$'),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE app_user (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenant,
    external_id bigint NOT NULL CHECK (external_id > 0),
    name text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, external_id)
);

CREATE TABLE account (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenant,
    owner text NOT NULL,
    currency text NOT NULL,
    kind text NOT NULL GENERATED ALWAYS AS (split_part(owner, ':', 1)) STORED,
    balance numeric(38, 0) NOT NULL DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0,
    UNIQUE (tenant_id, owner, currency),
    CHECK (kind IN ('user', 'deal', 'withdrawal', 'external', 'fees', 'operator')),
    -- What is held for somebody never goes below zero.
    CONSTRAINT account_floor CHECK (kind IN ('external', 'fees', 'operator') OR balance >= 0),
    -- Filled once and emptied once, whole: a second hold or a partial release can't be stored.
    CONSTRAINT account_filled_once CHECK (
        kind NOT IN ('deal', 'withdrawal')
        OR (seq = 0 AND balance = 0) OR (seq = 1 AND balance > 0) OR (seq = 2 AND balance = 0)
    ),
    -- Not materialised: these would be hot rows, so they are never updated and never locked.
    CONSTRAINT account_not_materialised CHECK (
        kind NOT IN ('external', 'fees', 'operator') OR (seq = 0 AND balance = 0)
    )
) WITH (fillfactor = 70);
-- A deal is held once, whichever tenant a caller names.
CREATE UNIQUE INDEX account_owner ON account (owner, currency) WHERE kind IN ('user', 'deal', 'withdrawal');

CREATE TABLE operation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE CHECK (length(key) <= 200),
    fingerprint bytea NOT NULL,
    kind text NOT NULL,
    tenant_id bigint REFERENCES tenant,
    outcome text NOT NULL CHECK (outcome IN ('applied', 'rejected', 'voided')),
    reason text,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((outcome = 'voided') = (kind = 'void')),
    CHECK (outcome = 'voided' OR tenant_id IS NOT NULL)
);

CREATE TABLE adjustment (
    operation_id bigint NOT NULL REFERENCES operation,
    account_id bigint NOT NULL REFERENCES account,
    seq bigint,
    amount numeric(38, 0) NOT NULL CHECK (amount <> 0),
    balance_after numeric(38, 0),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (operation_id, account_id),
    CHECK ((seq IS NULL) = (balance_after IS NULL))
);
CREATE UNIQUE INDEX adjustment_seq ON adjustment (account_id, seq) INCLUDE (balance_after) WHERE seq IS NOT NULL;

CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the table % is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON adjustment
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operation
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();

-- The service's own role may only add to the ledger.
DO $$
DECLARE grantee text;
BEGIN
    FOR grantee IN
        SELECT DISTINCT g.grantee FROM information_schema.role_table_grants g
         WHERE g.table_name IN ('adjustment', 'operation') AND g.grantee NOT IN (current_user, 'PUBLIC')
    LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON adjustment, operation FROM %I', grantee);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in statements(OUTBOX_AND_INBOX + SCRIPT):
        op.execute(statement)
