"""The facts that accounts tells."""

from datetime import datetime

from accounts.domain.ledger import Entry, Operation
from accounts.domain.users import User
from common.events import Event
from common.ids import request_id


def user_upserted(user: User) -> Event:
    """A user was created or renamed."""
    return Event(
        type="user.upserted",
        aggregate=f"user:{user.id}",
        aggregate_version=user.version,
        tenant_id=user.tenant_id,
        occurred_at=user.updated_at,
        data={"user_id": user.id, "external_id": user.external_id, "name": user.name},
    )


def balance_changed(operation: Operation, entry: Entry, now: datetime) -> Event:
    """A user's balance went up (`balance.credited`) or down (`balance.debited`)."""
    assert entry.seq is not None
    return Event(
        type="balance.credited" if entry.amount > 0 else "balance.debited",
        aggregate=f"{entry.account.owner}:{entry.account.currency}",
        aggregate_version=entry.seq,
        tenant_id=operation.tenant_id,
        occurred_at=now,
        data={
            "user_id": int(entry.account.owner.removeprefix("user:")),
            "currency": entry.account.currency,
            "amount_units": str(abs(entry.amount)),
            "balance_units": str(entry.balance_after),
            "operation_key": operation.key,
            "kind": operation.kind,
        },
        request_id=operation.request_id or request_id(),
    )


def api_key_revoked(tenant_id: int, key_id: int, now: datetime) -> Event:
    """An API key must not be accepted any more."""
    return Event(
        type="api_key.revoked",
        aggregate=f"api_key:{key_id}",
        aggregate_version=2,
        tenant_id=tenant_id,
        occurred_at=now,
        data={"key_id": key_id},
    )
