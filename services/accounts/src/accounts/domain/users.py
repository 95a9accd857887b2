"""Users of a marketplace, known by its own id for them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class User:
    """A user; `version` grows with each change."""

    id: int
    tenant_id: int
    external_id: int
    name: str
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One line of a user's statement; amounts in smallest units."""

    account_id: int
    seq: int
    currency: str
    amount: int
    balance_after: int
    kind: str
    key: str
    at: datetime
