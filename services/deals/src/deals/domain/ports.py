"""What deals needs from accounts, which it does not own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from deals.domain.model import Command, CommandState, Deal


@dataclass(frozen=True, slots=True)
class Held:
    """What a deal's account holds, in smallest units; `place` orders the pages of a list."""

    place: int
    deal_id: int
    units: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The ledger's final answer for one command."""

    outcome: CommandState
    reason: str | None


class Accounts(Protocol):
    """The ledger and the users, as accounts keeps them. Every method may raise `Unavailable`."""

    async def users_exist(self, tenant_id: int, user_ids: Sequence[int]) -> bool:
        """Tell whether all of the users exist in the tenant."""
        ...

    async def balances(self, tenant_id: int, user_ids: Sequence[int]) -> dict[tuple[int, str], int]:
        """Return users' balances in smallest units by (user, currency); one that never moved is absent."""
        ...

    async def held(self, tenant_id: int, deal_ids: Sequence[int]) -> dict[int, int]:
        """Return what each deal's account holds, in smallest units."""
        ...

    async def all_held(self, after: int) -> list[Held]:
        """Return a page of the deals' accounts of all tenants that hold something, above a place."""
        ...

    async def post(self, commands: Sequence[tuple[Deal, Command]]) -> list[Answer | None]:
        """Post 1 to 100 commands; None where the ledger says that the command itself is wrong (a bug)."""
        ...

    async def void(self, command: Command) -> Answer:
        """Make sure that a hold is never applied later; return how it ended."""
        ...
