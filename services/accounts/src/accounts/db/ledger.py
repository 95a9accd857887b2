"""The ledger in PostgreSQL: locks in one order, decisions written in a handful of statements for a whole batch."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from accounts.domain.ledger import (
    MATERIALISED,
    Account,
    Accounts,
    Decision,
    Leg,
    Operation,
    Outcome,
    Stored,
)
from common.db import Connection


class KeyLost(Exception):
    """Another transaction stored an outcome under one of our keys first: decide again."""


# Accounts exist by being named, but a user's, and a deal's beside it, only where the user exists in that tenant:
# a deal's account is one tenant's for ever. The order of the rows is that in which two batches meet on the index.
_CREATE_ACCOUNTS = sa.text(
    """
    INSERT INTO account (tenant_id, owner, currency)
    SELECT w.tenant_id, w.owner, w.currency
      FROM unnest(CAST(:tenants AS bigint[]), CAST(:owners AS text[]), CAST(:currencies AS text[]),
                  CAST(:users AS bigint[])) AS w (tenant_id, owner, currency, user_id)
      JOIN tenant t ON t.id = w.tenant_id
      LEFT JOIN app_user u ON u.id = w.user_id AND u.tenant_id = w.tenant_id
     WHERE NOT EXISTS (SELECT FROM account a WHERE a.tenant_id = w.tenant_id AND a.owner = w.owner
                          AND a.currency = w.currency)
       AND (w.user_id IS NULL OR u.id IS NOT NULL)
     ORDER BY 2, 3, 1
    ON CONFLICT DO NOTHING
    """
)
_COLUMNS = "a.id, a.tenant_id, a.owner, a.currency, a.balance::text, a.seq"
# FOR NO KEY UPDATE takes the rows in the order of their ids; accounts that are not materialised are never locked.
_OPEN = sa.text(
    f"""
    WITH locked AS (
        SELECT {_COLUMNS} FROM account a
          JOIN unnest(CAST(:tenants AS bigint[]), CAST(:owners AS text[]), CAST(:currencies AS text[]))
            AS w (tenant_id, owner, currency)
            ON a.tenant_id = w.tenant_id AND a.owner = w.owner AND a.currency = w.currency
         ORDER BY a.id FOR NO KEY UPDATE OF a
    )
    SELECT * FROM locked
    UNION ALL
    SELECT {_COLUMNS} FROM account a
      JOIN unnest(CAST(:plain_tenants AS bigint[]), CAST(:plain_owners AS text[]),
                  CAST(:plain_currencies AS text[])) AS w (tenant_id, owner, currency)
        ON a.tenant_id = w.tenant_id AND a.owner = w.owner AND a.currency = w.currency
    """
)
_STORED = sa.text("SELECT key, fingerprint, outcome, reason FROM operation WHERE key = ANY(:keys)")
# One statement, so one round trip. Where a key was taken meanwhile, its entries find no operation and are left
# out; the caller sees the key missing and rolls all of it back. Entries are appended in the order of the decision,
# so that `at` never goes back while `seq` grows.
_WRITE = sa.text(
    """
    WITH claimed AS (
        INSERT INTO operation (key, fingerprint, kind, tenant_id, outcome, reason)
        SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:fingerprints AS bytea[]), CAST(:kinds AS text[]),
                             CAST(:tenants AS bigint[]), CAST(:outcomes AS text[]), CAST(:reasons AS text[]))
               AS o (key, fingerprint, kind, tenant_id, outcome, reason)
         ORDER BY o.key
        ON CONFLICT DO NOTHING
        RETURNING key, id, at
    ), appended AS (
        INSERT INTO adjustment (operation_id, account_id, seq, amount, balance_after)
        SELECT c.id, e.account_id, e.seq, e.amount, e.balance_after
          FROM unnest(CAST(:entry_keys AS text[]), CAST(:accounts AS bigint[]), CAST(:seqs AS bigint[]),
                      CAST(:amounts AS numeric[]), CAST(:balances AS numeric[]))
               WITH ORDINALITY AS e (key, account_id, seq, amount, balance_after, place)
          JOIN claimed c ON c.key = e.key
         ORDER BY e.place
    ), moved AS (
        UPDATE account a SET balance = w.balance, seq = w.seq
          FROM unnest(CAST(:changed AS bigint[]), CAST(:new_balances AS numeric[]), CAST(:new_seqs AS bigint[]))
            AS w (id, balance, seq)
         WHERE a.id = w.id
    )
    SELECT key, at FROM claimed
    """
)
_VOID = sa.text(
    r"""
    INSERT INTO operation (key, fingerprint, kind, outcome) VALUES (:key, '\x', 'void', 'voided')
    ON CONFLICT (key) DO NOTHING
    """
)
_NOW = sa.text("SELECT clock_timestamp()")


async def open_accounts(connection: Connection, operations: Iterable[Operation]) -> Accounts:
    """Create what is missing, lock the materialised accounts in id order, and return all that exist."""
    named = {(o.tenant_id, leg.owner, o.currency, _user_of(o, leg)) for o in operations for leg in o.legs}
    if not named:
        return {}
    opened = sorted(named, key=lambda n: (n[1], n[2], n[0]))
    await connection.execute(
        _CREATE_ACCOUNTS, _arrays([n[:3] for n in opened]) | {"users": [n[3] for n in opened]}
    )
    wanted = list(dict.fromkeys(n[:3] for n in opened))
    locked = _arrays([w for w in wanted if Leg(w[1], 0).kind in MATERIALISED])
    plain = _arrays([w for w in wanted if Leg(w[1], 0).kind not in MATERIALISED])
    rows = await connection.execute(_OPEN, locked | {f"plain_{name}": values for name, values in plain.items()})
    return {(r[1], r[2], r[3]): Account(r[0], r[1], r[2], r[3], int(r[4]), r[5]) for r in rows}


def _user_of(operation: Operation, leg: Leg) -> int | None:
    """Return the user without whom the leg's account is not opened; nobody opens what is outside."""
    if leg.kind not in MATERIALISED:
        return None
    return next((int(other.owner[5:]) for other in operation.legs if other.kind == "user"), None)


def _arrays(wanted: Sequence[tuple[int, str, str]]) -> dict[str, list[int] | list[str]]:
    return {
        "tenants": [w[0] for w in wanted],
        "owners": [w[1] for w in wanted],
        "currencies": [w[2] for w in wanted],
    }


async def stored(connection: Connection, keys: Sequence[str]) -> dict[str, Stored]:
    """Read what these keys already say; after the locks, so that it sees whoever we waited for."""
    rows = await connection.execute(_STORED, {"keys": sorted(set(keys))})
    return {key: Stored(bytes(mark), Outcome(outcome), why) for key, mark, outcome, why in rows}


async def write(connection: Connection, decision: Decision) -> dict[str, datetime]:
    """Write a decision; return when each of its operations was stored, by key.

    Raises:
        KeyLost: when one of the keys was taken meanwhile; roll back and decide again.
    """
    if not decision.fresh:
        return {}
    values = _operations(decision) | _entries(decision) | _changes(decision)
    stored_at: dict[str, datetime] = {r["key"]: r["at"] for r in await connection.execute(_WRITE, values)}
    if len(stored_at) != len(decision.fresh):
        raise KeyLost
    return stored_at


def _operations(decision: Decision) -> dict[str, list[Any]]:
    fresh = decision.fresh
    return {
        "keys": [o.key for o, _ in fresh],
        "fingerprints": [s.fingerprint for _, s in fresh],
        "kinds": [o.kind for o, _ in fresh],
        "tenants": [o.tenant_id for o, _ in fresh],
        "outcomes": [s.outcome.value for _, s in fresh],
        "reasons": [s.reason for _, s in fresh],
    }


def _entries(decision: Decision) -> dict[str, list[Any]]:
    return {
        "entry_keys": [e.key for e in decision.entries],
        "accounts": [e.account.id for e in decision.entries],
        "seqs": [e.seq for e in decision.entries],
        "amounts": [e.amount for e in decision.entries],
        "balances": [e.balance_after for e in decision.entries],
    }


def _changes(decision: Decision) -> dict[str, list[Any]]:
    changed = list(decision.changed.values())
    return {
        "changed": [a.id for a in changed],
        "new_balances": [a.balance for a in changed],
        "new_seqs": [a.seq for a in changed],
    }


async def void(connection: Connection, key: str) -> Stored:
    """Leave a tombstone under a key that has no outcome yet; return the key's final outcome."""
    await connection.execute(_VOID, {"key": key})
    return (await stored(connection, [key]))[key]


async def now(connection: Connection) -> datetime:
    """Return the database's time."""
    at: datetime = await connection.value(_NOW)
    return at
