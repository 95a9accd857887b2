"""A ledger with a past: users and adjustments written by SQL, as the ledger itself would have written them.

The rows are the owner's, written while nothing is posted; the ledger's proof holds afterwards.
"""

from dataclasses import dataclass
from typing import Any

import asyncpg

from accounts.use_cases.check_invariants import check_invariants
from common.db import Database

USERS = 10_000
AMOUNT = 1_000_000_000
"""Units in each deposit of the past: plenty, so that no hold is refused."""

_USERS = """
    INSERT INTO app_user (tenant_id, external_id, name, created_at, updated_at)
    SELECT $1, g, 'user ' || g, now() - interval '2 days', now() - interval '2 days'
      FROM generate_series(1, $2::bigint) g ORDER BY g
"""
# The ledger refuses to forget; only its owner can make it, and only here.
_EMPTY = "TRUNCATE adjustment, operation, account, outbox, inbox"
_ACCOUNTS = """
    INSERT INTO account (tenant_id, owner, currency)
    SELECT $1, 'user:' || id, 'USDT' FROM app_user WHERE tenant_id = $1
    UNION ALL SELECT $1, 'external:bench', 'USDT'
"""
# The past is two days old: its events need not be in the outbox any more.
# Each deposit is an operation and two adjustments. One in ten goes to the hot user, the others round robin.
_OPERATIONS = """
    CREATE TEMPORARY TABLE past ON COMMIT DROP AS
    WITH fresh AS (
        INSERT INTO operation (key, fingerprint, kind, tenant_id, outcome)
        SELECT 'past:' || g, sha256(('past:' || g)::bytea), 'deposit', {tenant_id}, 'applied'
          FROM generate_series(1, {deposits}) g
        RETURNING id, substr(key, 6)::bigint AS g
    )
    SELECT f.id, a.id AS account_id, row_number() OVER (PARTITION BY a.id ORDER BY f.g) AS n
      FROM fresh f
      JOIN account a ON a.tenant_id = {tenant_id} AND a.currency = 'USDT'
       AND a.owner = 'user:' || CASE WHEN f.g % 10 = 0 THEN {hot_user}
                                     ELSE {first_user} + (f.g - f.g / 10) % {users} END
"""
_ENTRIES = """
    INSERT INTO adjustment (operation_id, account_id, seq, amount, balance_after, at)
    SELECT p.id, p.account_id, p.n, $2::numeric, $2::numeric * p.n,
           now() - interval '2 days' + p.n * interval '1 ms'
      FROM past p
    UNION ALL
    SELECT p.id, e.id, NULL, -$2::numeric, NULL, now() - interval '2 days'
      FROM past p JOIN account e ON e.tenant_id = $1 AND e.owner = 'external:bench'
"""
_BALANCES = """
    UPDATE account a SET balance = $1::numeric * p.n, seq = p.n
      FROM (SELECT account_id, max(n) AS n FROM past GROUP BY account_id) p WHERE a.id = p.account_id
"""
# Older than the window in which a consumer asks for what it has missed.
_FORGET = """
    UPDATE outbox SET published_at = COALESCE(published_at, now()), created_at = created_at - interval '8 days'
     WHERE created_at > now() - interval '1 day'
"""


@dataclass(slots=True)
class Books:
    """The accounts database through its owner's eyes."""

    url: str
    tenant_id: int
    first_user: int = 0

    @property
    def hot_user(self) -> int:
        """The user of the loads that go to one account; the id comes after the others."""
        return self.first_user + USERS

    async def open(self) -> None:
        """Create the users."""
        connection = await asyncpg.connect(self.url, timeout=5, command_timeout=120)
        try:
            await connection.execute(_USERS, self.tenant_id, USERS + 1)
            self.first_user = await connection.fetchval(
                "SELECT min(id) FROM app_user WHERE tenant_id = $1", self.tenant_id
            )
        finally:
            await connection.close()

    async def rewrite(self, adjustments: int) -> None:
        """Replace the ledger by one with a past of this many adjustments."""
        connection = await asyncpg.connect(self.url, timeout=5, command_timeout=120)
        try:
            async with connection.transaction():
                # Foreign keys hold by construction; checking them row by row would take most of the time.
                await connection.execute("SET LOCAL session_replication_role = replica")
                await connection.execute(_EMPTY)
                await connection.execute(_ACCOUNTS, self.tenant_id)
                await connection.execute(
                    _OPERATIONS.format(  # CREATE TABLE takes no parameters; these are whole numbers
                        tenant_id=self.tenant_id,
                        deposits=adjustments // 2,
                        hot_user=self.hot_user,
                        first_user=self.first_user,
                        users=USERS,
                    )
                )
                await connection.execute(_ENTRIES, self.tenant_id, AMOUNT)
                await connection.execute(_BALANCES, AMOUNT)
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()

    def customers(self, adjustments: int) -> int:
        """Return how many users have money after `rewrite`: the ids from `first_user` + 1 on."""
        return min(USERS - 1, adjustments // 2 * 9 // 10)

    async def forget_events(self) -> int:
        """Let the events that wait count as published long ago, so that no row pays for another's.

        Returns:
            How many waited.
        """
        connection = await asyncpg.connect(self.url, timeout=5, command_timeout=120)
        try:
            waiting: int = await connection.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")
            await connection.execute(_FORGET)
        finally:
            await connection.close()
        return waiting

    async def prove(self) -> dict[str, Any]:
        """Prove the ledger against itself (`python -m accounts verify`).

        Raises:
            RuntimeError: when it does not hold.
        """
        database = Database(self.url, "bench", 2)
        try:
            found = await check_invariants(database)
        finally:
            await database.close()
        if not found["ok"]:
            raise RuntimeError(f"the ledger does not hold after the load: {found}")
        return found
