"""Money commands and funding passes in PostgreSQL. `due_at` is the lease and the backoff in one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from common.db import Connection, Row
from common.ids import request_id
from deals.domain.model import Action, Command, CommandState, Deal, Movement, NewCommand, Status
from deals.domain.ports import Answer

_COLUMNS = "id, deal_id, action, kind, key, state, void_to, tries, request_id, created_at"
_INSERT = sa.text(
    f"""
    INSERT INTO money_command (deal_id, action, kind, key, request_id, due_at, created_at)
    SELECT n.deal_id, n.action, n.kind, n.key, CAST(:request_id AS text), :due_at, :now
      FROM unnest(CAST(:deal_ids AS bigint[]), CAST(:actions AS text[]), CAST(:kinds AS text[]),
                  CAST(:keys AS text[])) WITH ORDINALITY AS n (deal_id, action, kind, key, place)
     ORDER BY n.place
    RETURNING {_COLUMNS}
    """
)
_PENDING = sa.text(f"SELECT {_COLUMNS} FROM money_command WHERE deal_id = ANY(:deal_ids) AND state = 'pending'")
_LOCK = sa.text(
    f"SELECT {_COLUMNS} FROM money_command WHERE id = ANY(:ids) AND state = 'pending' ORDER BY id FOR UPDATE"
)
_CLAIM = sa.text(
    f"""
    UPDATE money_command SET tries = tries + 1, due_at = :now + CAST(:lease AS interval)
     WHERE id IN (SELECT id FROM money_command WHERE state = 'pending' AND due_at <= :now
                   ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING {_COLUMNS}
    """
)
_POSTPONE = sa.text(
    """
    UPDATE money_command c SET due_at = n.due_at
      FROM unnest(CAST(:ids AS bigint[]), CAST(:due_ats AS timestamptz[])) AS n (id, due_at)
     WHERE c.id = n.id
       AND c.id IN (SELECT id FROM money_command WHERE id = ANY(:ids) AND state = 'pending' ORDER BY id FOR UPDATE)
    """
)
_FINISH = sa.text(
    """
    UPDATE money_command c SET state = n.state, reason = n.reason, finished_at = :now
      FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:reasons AS text[]))
           AS n (id, state, reason)
     WHERE c.id = n.id
    """
)
_VOID = sa.text("UPDATE money_command SET void_to = :void_to, due_at = :now WHERE id = :id")
_WANT_FUNDING = sa.text(
    """
    INSERT INTO funding AS f (tenant_id, customer_id, currency)
    SELECT DISTINCT n.tenant_id, n.customer_id, n.currency
      FROM unnest(CAST(:tenant_ids AS bigint[]), CAST(:customer_ids AS bigint[]), CAST(:currencies AS text[]))
           AS n (tenant_id, customer_id, currency)
     ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, customer_id, currency) DO UPDATE SET wanted = f.wanted + 1
    """
)
_WANT_FUNDING_WHERE_CREDITED = sa.text(
    """
    INSERT INTO funding AS f (tenant_id, customer_id, currency)
    SELECT c.tenant_id, c.customer_id, c.currency
      FROM unnest(CAST(:tenant_ids AS bigint[]), CAST(:customer_ids AS bigint[]), CAST(:currencies AS text[]))
           AS c (tenant_id, customer_id, currency)
     WHERE EXISTS (SELECT FROM deal d WHERE d.status = 'waiting_for_payment'
                      AND (d.tenant_id, d.customer_id, d.currency) = (c.tenant_id, c.customer_id, c.currency))
     ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, customer_id, currency) DO UPDATE SET wanted = f.wanted + 1
    """
)
_WANT_ALL_FUNDING = sa.text(
    """
    INSERT INTO funding AS f (tenant_id, customer_id, currency)
    SELECT DISTINCT d.tenant_id, d.customer_id, d.currency FROM deal d
     WHERE d.status = 'waiting_for_payment' ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, customer_id, currency) DO UPDATE SET wanted = f.wanted + 1
    """
)
_CLAIM_FUNDING = sa.text(
    """
    UPDATE funding f SET due_at = :now + CAST(:lease AS interval)
      FROM (SELECT tenant_id, customer_id, currency FROM funding
             WHERE wanted > done AND due_at <= :now ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) g
     WHERE (f.tenant_id, f.customer_id, f.currency) = (g.tenant_id, g.customer_id, g.currency)
    RETURNING f.tenant_id, f.customer_id, f.currency, f.wanted
    """
)
_FINISH_FUNDING = sa.text(
    """
    UPDATE funding SET done = greatest(done, :done), due_at = :due_at
     WHERE tenant_id = :tenant_id AND customer_id = :customer_id AND currency = :currency
    """
)


@dataclass(frozen=True, slots=True)
class Funding:
    """A claimed pass over one customer's waiting deals in one currency."""

    tenant_id: int
    customer_id: int
    currency: str
    wanted: int


def _command(row: Row) -> Command:
    r = row
    return Command(
        id=r["id"],
        deal_id=r["deal_id"],
        action=Action(r["action"]),
        movement=Movement(r["kind"]),
        key=r["key"],
        state=CommandState(r["state"]),
        void_to=Status(r["void_to"]) if r["void_to"] else None,
        tries=r["tries"],
        request_id=r["request_id"],
        created_at=r["created_at"],
    )


async def insert(
    connection: Connection, new: Sequence[tuple[Deal, NewCommand]], now: datetime, lease: timedelta
) -> list[Command]:
    """Store commands, leased to the caller who will post them at once."""
    values = {
        "deal_ids": [deal.id for deal, _ in new],
        "actions": [command.action.value for _, command in new],
        "kinds": [command.movement.value for _, command in new],
        "keys": [command.key for _, command in new],
        "request_id": request_id(),
        "now": now,
        "due_at": now + lease,
    }
    return [_command(row) for row in await connection.execute(_INSERT, values)]


async def pending(connection: Connection, deal_ids: Sequence[int]) -> dict[int, Command]:
    """Return the commands in flight by deal."""
    rows = await connection.execute(_PENDING, {"deal_ids": list(deal_ids)})
    return {command.deal_id: command for command in map(_command, rows)}


async def lock_pending(connection: Connection, ids: Sequence[int]) -> dict[int, Command]:
    """Return those commands, locked, that are still pending: a late answer to the others changes nothing."""
    rows = await connection.execute(_LOCK, {"ids": list(ids)})
    return {command.id: command for command in map(_command, rows)}


async def claim_due(connection: Connection, now: datetime, lease: timedelta, limit: int) -> list[Command]:
    """Lease the commands that are due to the caller."""
    values = {"now": now, "lease": lease, "limit": limit}
    return [_command(row) for row in await connection.execute(_CLAIM, values)]


async def postpone(connection: Connection, due: Sequence[tuple[Command, datetime]]) -> None:
    """Try these again, each when it is due: their outcome is not known."""
    values = {"ids": [command.id for command, _ in due], "due_ats": [due_at for _, due_at in due]}
    await connection.execute(_POSTPONE, values)


async def finish(connection: Connection, answered: Sequence[tuple[Command, Answer]], now: datetime) -> None:
    """Record commands' final outcomes; they are locked."""
    values = {
        "ids": [command.id for command, _ in answered],
        "states": [answer.outcome.value for _, answer in answered],
        "reasons": [answer.reason for _, answer in answered],
        "now": now,
    }
    await connection.execute(_FINISH, values)


async def void(connection: Connection, command: Command, void_to: Status, now: datetime) -> None:
    """Let the worker void a hold instead of posting it, at once."""
    values = {"id": command.id, "void_to": void_to.value, "now": now}
    await connection.execute(_VOID, values)


async def want_funding(connection: Connection, deals: Sequence[Deal]) -> None:
    """Ask for a pass over the waiting deals of these deals' customers, whatever the present statuses are."""
    values = {
        "tenant_ids": [deal.tenant_id for deal in deals],
        "customer_ids": [deal.customer_id for deal in deals],
        "currencies": [deal.currency for deal in deals],
    }
    await connection.execute(_WANT_FUNDING, values)


async def want_funding_where_credited(connection: Connection, credited: Collection[tuple[int, int, str]]) -> None:
    """Ask for a pass where deals wait, of these tenants' customers in these currencies, each named once."""
    values = {
        "tenant_ids": [tenant_id for tenant_id, _, _ in credited],
        "customer_ids": [customer_id for _, customer_id, _ in credited],
        "currencies": [currency for _, _, currency in credited],
    }
    await connection.execute(_WANT_FUNDING_WHERE_CREDITED, values)


async def want_all_funding(connection: Connection) -> int:
    """Ask for a pass wherever deals wait; return how many passes."""
    return await connection.count(_WANT_ALL_FUNDING)


async def claim_funding(connection: Connection, now: datetime, lease: timedelta) -> Funding | None:
    """Lease the pass that has waited longest, or return None."""
    row = await connection.first(_CLAIM_FUNDING, {"now": now, "lease": lease})
    return None if row is None else Funding(*row)


async def finish_funding(connection: Connection, funding: Funding, *, done: bool, due_at: datetime) -> None:
    """End a pass; one that was asked for meanwhile, or is not done, runs at `due_at`."""
    values = {
        "tenant_id": funding.tenant_id,
        "customer_id": funding.customer_id,
        "currency": funding.currency,
        "done": funding.wanted if done else 0,
        "due_at": due_at,
    }
    await connection.execute(_FINISH_FUNDING, values)
