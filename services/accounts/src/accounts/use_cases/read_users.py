"""Read users, balances and statements."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from accounts.db import ledger, users
from accounts.domain.errors import CurrencyUnknown, TimeNotSettled, UserNotFound
from accounts.domain.ledger import MAX_ID
from accounts.domain.users import Adjustment, User
from common.db import TRANSACTION_TIMEOUT_MS, Database
from common.money import Currencies, Currency

SETTLED_AFTER = timedelta(milliseconds=TRANSACTION_TIMEOUT_MS)
"""A posting is stamped before its commit, which comes within the longest transaction or not at all."""


async def read_user(database: Database, tenant_id: int, user_id: int) -> User:
    """Return a user of the tenant.

    Raises:
        UserNotFound: when there is none.
    """
    found = await find_users(database, tenant_id, [user_id])
    if not found:
        raise UserNotFound(f"there is no user {user_id}")
    return found[0]


async def find_users(database: Database, tenant_id: int, ids: Sequence[int]) -> list[User]:
    """Return those of the users that exist in the tenant."""
    async with database.reading() as connection:
        return await users.find(connection, tenant_id, ids)


async def read_balances(
    database: Database, currencies: Currencies, tenant_id: int, user_id: int, at: datetime | None = None
) -> list[tuple[Currency, int]]:
    """Return the user's balance in each configured currency, zero included, now or at a past time.

    Raises:
        UserNotFound: when there is no such user in the tenant.
        TimeNotSettled: when a transaction of that time could still be under way.
    """
    if at is None:
        async with database.reading() as connection:
            now = await users.balances_of_user(connection, tenant_id, user_id)
        if now is None:
            raise UserNotFound(f"there is no user {user_id}")
        return [(currency, now.get(currency.code, 0)) for currency in currencies]
    await read_user(database, tenant_id, user_id)
    owner = f"user:{user_id}"
    found = await _balances_at(database, tenant_id, owner, at)
    return [(currency, found.get((owner, currency.code), 0)) for currency in currencies]


async def _balances_at(database: Database, tenant_id: int, owner: str, at: datetime) -> dict[tuple[str, str], int]:
    async with database.transaction() as connection:
        if at > await ledger.now(connection) - SETTLED_AFTER:
            raise TimeNotSettled(f"`at` must be at least {SETTLED_AFTER.seconds} s ago; leave it out for now")
        return await users.balances_at(connection, tenant_id, owner, at)


async def find_balances(database: Database, tenant_id: int, owners: Sequence[str]) -> dict[tuple[str, str], int]:
    """Return balances in smallest units by (owner, currency); an account that never moved is absent."""
    async with database.reading() as connection:
        return await users.balances(connection, tenant_id, owners)


async def read_statement(
    database: Database, user: User, currency: Currency | None, before: int | None, limit: int
) -> list[Adjustment]:
    """Return a page of the user's adjustments in one currency, newest first.

    Raises:
        CurrencyUnknown: when the currency is not configured.
    """
    if currency is None:
        raise CurrencyUnknown("the currency is not one of the configured ones")
    async with database.reading() as connection:
        return await users.statement(connection, user, currency.code, before or MAX_ID, limit)
