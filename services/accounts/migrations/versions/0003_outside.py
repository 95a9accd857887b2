"""What comes from outside and goes there besides deposits: our own capital, fees and payouts."""

from alembic import op

from common.migrate import statements

revision = "0003"
down_revision = "0002"

SCRIPT = """
-- Whom fees and our own capital belong to: no marketplace, and no key can be made for it.
INSERT INTO tenant (id, name) OVERRIDING SYSTEM VALUE VALUES (0, 'the house itself');

-- Payments compares its books with ours, in our order.
DROP INDEX operation_deposit;
CREATE INDEX operation_outside ON operation (id) WHERE kind IN ('deposit', 'funding', 'fee', 'payout');

-- The few accounts of the house are summed up for its alarm.
CREATE INDEX account_house ON account (currency) WHERE kind IN ('fees', 'operator');
"""


def upgrade() -> None:
    """Create the house's tenant and the indexes."""
    for statement in statements(SCRIPT):
        op.execute(statement)
