"""What deals needs from accounts, which it does not own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from deals.domain.model import Command, CommandState, Deal


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

    async def balance(self, tenant_id: int, user_id: int, currency: str) -> int:
        """Return a user's balance in smallest units."""
        ...

    async def held(self, tenant_id: int, deal_ids: Sequence[int]) -> dict[int, int]:
        """Return what each deal's account holds, in smallest units."""
        ...

    async def post(self, commands: Sequence[tuple[Deal, Command]]) -> list[Answer | None]:
        """Post 1 to 100 commands; None where the ledger says that the command itself is wrong (a bug)."""
        ...

    async def void(self, command: Command) -> Answer:
        """Make sure that a hold is never applied later; return how it ended."""
        ...
