"""Deals in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from common.db import Connection, Row
from deals.domain.model import Deal, Dispute, NewDeal, Status

_COLUMNS = """
    d.id, d.tenant_id, d.chat_id, d.title, d.description, d.price::text AS price, d.currency, d.customer_id,
    d.performer_id, d.status, d.deadline_at, d.overdue_at, d.dispute_title, d.dispute_description,
    d.dispute_opened_at, d.attempts, d.version, d.created_at, d.updated_at
"""
_INSERT = sa.text(
    f"""
    INSERT INTO deal AS d (tenant_id, chat_id, title, description, price, currency, customer_id, performer_id,
                           status, deadline_at, created_at, updated_at)
    VALUES (:tenant_id, :chat_id, :title, :description, :price, :currency, :customer_id, :performer_id,
            'created', :deadline_at, :now, :now)
    RETURNING {_COLUMNS}
    """
)
_READ = sa.text(f"SELECT {_COLUMNS} FROM deal d WHERE d.id = :id AND d.tenant_id = :tenant_id")
_READ_MANY = sa.text(f"SELECT {_COLUMNS} FROM deal d WHERE d.id = ANY(:ids)")
_LOCK = sa.text(f"SELECT {_COLUMNS} FROM deal d WHERE d.id = ANY(:ids) ORDER BY d.id FOR NO KEY UPDATE")
_BY_CHAT = sa.text(f"SELECT {_COLUMNS} FROM deal d WHERE d.chat_id = :chat_id")
_SAVE = sa.text(
    """
    UPDATE deal d SET status = n.status, overdue_at = n.overdue_at, dispute_title = n.dispute_title,
           dispute_description = n.dispute_description, dispute_opened_at = n.dispute_opened_at,
           attempts = n.attempts, version = n.version, updated_at = n.updated_at
      FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:overdue_ats AS timestamptz[]),
                  CAST(:dispute_titles AS text[]), CAST(:dispute_descriptions AS text[]),
                  CAST(:dispute_opened_ats AS timestamptz[]), CAST(:attempts AS int[]),
                  CAST(:versions AS bigint[]), CAST(:updated_ats AS timestamptz[]))
           AS n (id, status, overdue_at, dispute_title, dispute_description, dispute_opened_at, attempts, version,
                 updated_at)
     WHERE d.id = n.id
    """
)
_PAGE = sa.text(
    f"""
    SELECT {_COLUMNS} FROM deal d
     WHERE d.tenant_id = :tenant_id AND d.id < :before
       AND (CAST(:status AS text) IS NULL OR d.status = :status)
       AND (CAST(:customer_id AS bigint) IS NULL OR d.customer_id = :customer_id)
       AND (CAST(:performer_id AS bigint) IS NULL OR d.performer_id = :performer_id)
     ORDER BY d.id DESC LIMIT :limit
    """
)
_WAITING = sa.text(
    f"""
    SELECT {_COLUMNS} FROM deal d
     WHERE d.tenant_id = :tenant_id AND d.customer_id = :customer_id AND d.currency = :currency
       AND d.status = 'waiting_for_payment' AND d.id > :after
       AND NOT EXISTS (SELECT FROM money_command c WHERE c.deal_id = d.id AND c.state = 'pending')
     ORDER BY d.id LIMIT :limit
    """
)
_PAST_DEADLINE = sa.text(
    f"""
    SELECT {_COLUMNS} FROM deal d
     WHERE d.deadline_at <= :now AND d.overdue_at IS NULL
       AND d.status IN ('created', 'waiting_for_payment', 'confirm_performer', 'confirmed', 'dispute')
       AND NOT EXISTS (SELECT FROM money_command c WHERE c.deal_id = d.id AND c.state = 'pending'
                          AND c.void_to IS NOT NULL)
     ORDER BY d.deadline_at LIMIT :limit
    """
)
_HOLDING_AFTER = sa.text(
    f"""
    SELECT {_COLUMNS} FROM deal d
     WHERE d.id > :after AND d.status IN ('confirm_performer', 'confirmed', 'dispute') ORDER BY d.id LIMIT :limit
    """
)
# Each version of a deal but none before it was created is an event.
_UNTOLD = sa.text(
    """
    SELECT 'deal:' || d.id AS aggregate, v.version FROM deal d, generate_series(1, d.version) AS v (version)
     WHERE d.created_at >= :since
       AND NOT EXISTS (SELECT FROM outbox o WHERE o.envelope->>'aggregate' = 'deal:' || d.id
                          AND (o.envelope->>'aggregate_version')::bigint = v.version)
     ORDER BY 1, 2 LIMIT :limit
    """
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deals a list holds, newest first, below the id `before`."""

    status: Status | None
    customer_id: int | None
    performer_id: int | None
    before: int
    limit: int


def _deal(row: Row) -> Deal:
    r = row
    dispute = None
    if r["dispute_opened_at"] is not None:
        dispute = Dispute(r["dispute_title"], r["dispute_description"], r["dispute_opened_at"])
    return Deal(
        id=r["id"],
        tenant_id=r["tenant_id"],
        chat_id=r["chat_id"],
        title=r["title"],
        description=r["description"],
        price=int(r["price"]),
        currency=r["currency"],
        customer_id=r["customer_id"],
        performer_id=r["performer_id"],
        status=Status(r["status"]),
        deadline_at=r["deadline_at"],
        overdue_at=r["overdue_at"],
        dispute=dispute,
        attempts=r["attempts"],
        version=r["version"],
        created_at=r["created_at"],
        updated_at=r["updated_at"],
    )


async def insert(connection: Connection, deal: NewDeal, now: datetime) -> Deal:
    """Store a new deal."""
    values = {
        "tenant_id": deal.tenant_id,
        "chat_id": deal.chat_id,
        "title": deal.title,
        "description": deal.description,
        "price": deal.price,
        "currency": deal.currency,
        "customer_id": deal.customer_id,
        "performer_id": deal.performer_id,
        "deadline_at": deal.deadline_at,
        "now": now,
    }
    return _deal(await connection.one(_INSERT, values))


async def read(connection: Connection, tenant_id: int, deal_id: int) -> Deal | None:
    """Return a deal of the tenant, or None."""
    row = await connection.first(_READ, {"id": deal_id, "tenant_id": tenant_id})
    return None if row is None else _deal(row)


async def read_many(connection: Connection, ids: Sequence[int]) -> dict[int, Deal]:
    """Return deals of any tenant by id."""
    return {deal.id: deal for deal in map(_deal, await connection.execute(_READ_MANY, {"ids": list(ids)}))}


async def lock(connection: Connection, ids: Sequence[int]) -> dict[int, Deal]:
    """Return deals of any tenant by id, locked until the transaction ends; those that do not exist are absent."""
    return {deal.id: deal for deal in map(_deal, await connection.execute(_LOCK, {"ids": list(ids)}))}


async def by_chat(connection: Connection, chat_id: UUID) -> Deal | None:
    """Return the deal with this chat, or None."""
    row = await connection.first(_BY_CHAT, {"chat_id": chat_id})
    return None if row is None else _deal(row)


async def save(connection: Connection, deals: Sequence[Deal]) -> None:
    """Store the new state of deals, each named once; they are locked."""
    disputes = [deal.dispute for deal in deals]
    values = {
        "ids": [deal.id for deal in deals],
        "statuses": [deal.status.value for deal in deals],
        "overdue_ats": [deal.overdue_at for deal in deals],
        "dispute_titles": [dispute.title if dispute else None for dispute in disputes],
        "dispute_descriptions": [dispute.description if dispute else None for dispute in disputes],
        "dispute_opened_ats": [dispute.opened_at if dispute else None for dispute in disputes],
        "attempts": [deal.attempts for deal in deals],
        "versions": [deal.version for deal in deals],
        "updated_ats": [deal.updated_at for deal in deals],
    }
    await connection.execute(_SAVE, values)


async def page(connection: Connection, tenant_id: int, wanted: Filter) -> list[Deal]:
    """Return a page of the tenant's deals, newest first."""
    values = {
        "tenant_id": tenant_id,
        "status": wanted.status.value if wanted.status else None,
        "customer_id": wanted.customer_id,
        "performer_id": wanted.performer_id,
        "before": wanted.before,
        "limit": wanted.limit,
    }
    return [_deal(row) for row in await connection.execute(_PAGE, values)]


async def waiting(
    connection: Connection,
    tenant_id: int,
    customer_id: int,
    currency: str,
    after: int,
    limit: int,
) -> list[Deal]:
    """Return waiting deals with nothing in flight and an id above `after`, oldest first."""
    values = {
        "tenant_id": tenant_id,
        "customer_id": customer_id,
        "currency": currency,
        "after": after,
        "limit": limit,
    }
    return [_deal(row) for row in await connection.execute(_WAITING, values)]


async def past_deadline(connection: Connection, now: datetime, limit: int) -> Sequence[Deal]:
    """Return live deals whose deadline has passed and was not told yet, but those that are being ended already.

    These wait for the ledger: while it is away they would be all that a page holds.
    """
    rows = await connection.execute(_PAST_DEADLINE, {"now": now, "limit": limit})
    return [_deal(row) for row in rows]


async def holding(connection: Connection, after: int, limit: int) -> list[Deal]:
    """Return deals of all tenants whose account must hold their price, in the order of their ids."""
    return [_deal(row) for row in await connection.execute(_HOLDING_AFTER, {"after": after, "limit": limit})]


async def untold(connection: Connection, since: datetime, limit: int) -> list[dict[str, object]]:
    """Return versions of deals made since a time that no event in the outbox tells."""
    rows = await connection.execute(_UNTOLD, {"since": since, "limit": limit})
    return [dict(row) for row in rows]
