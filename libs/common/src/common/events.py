"""Events: past facts, told in the envelope that every consumer reads (contracts/events)."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from common.ids import request_id, uuid_of


@dataclass(frozen=True, slots=True)
class Event:
    """A past fact, ready to be told.

    `type` is also the subject; `aggregate` names the thing it happened to and `aggregate_version` counts its
    changes, so that a consumer can tell an older fact from a newer one.
    """

    type: str
    aggregate: str
    aggregate_version: int
    tenant_id: int
    occurred_at: datetime
    data: dict[str, Any]
    version: int = 1
    request_id: str | None = field(default_factory=request_id)
    id: UUID = field(init=False)

    def __post_init__(self) -> None:
        """Give it an id of its own."""
        object.__setattr__(self, "id", uuid_of(self.occurred_at))

    def envelope(self) -> dict[str, Any]:
        """Return the JSON that consumers read (contracts/events)."""
        return {
            "id": str(self.id),
            "type": self.type,
            "version": self.version,
            "aggregate": self.aggregate,
            "aggregate_version": self.aggregate_version,
            "occurred_at": self.occurred_at.isoformat(),
            "tenant_id": self.tenant_id,
            "request_id": self.request_id,
            "data": self.data,
        }
