"""Accounts over HTTP."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from common.internal import InternalClient
from common.logging import get_logger
from deals.domain.model import Command, CommandState, Deal, Movement
from deals.domain.ports import Answer, Held

log = get_logger()

KNOWN_USERS = 100_000


class HttpAccounts:
    """See `deals.domain.ports.Accounts`. Users are never deleted, so those once seen are remembered."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client
        self._users: OrderedDict[tuple[int, int], None] = OrderedDict()

    async def users_exist(self, tenant_id: int, user_ids: Sequence[int]) -> bool:
        """See the port."""
        unknown = [u for u in user_ids if (tenant_id, u) not in self._users]
        if unknown:
            body = {"tenant_id": tenant_id, "user_ids": unknown}
            found = await self._client.call("POST", "/internal/v1/users/lookup", body)
            if set(found["user_ids"]) != set(unknown):
                return False
        for user_id in user_ids:
            self._users[tenant_id, user_id] = None
            self._users.move_to_end((tenant_id, user_id))
        while len(self._users) > KNOWN_USERS:
            self._users.popitem(last=False)
        return True

    async def balances(self, tenant_id: int, user_ids: Sequence[int]) -> dict[tuple[int, str], int]:
        """See the port."""
        found = await self._balances(tenant_id, [f"user:{user_id}" for user_id in user_ids])
        return {(int(b["owner"].removeprefix("user:")), b["currency"]): int(b["balance_units"]) for b in found}

    async def held(self, tenant_id: int, deal_ids: Sequence[int]) -> dict[int, int]:
        """See the port."""
        found = await self._balances(tenant_id, [f"deal:{deal_id}" for deal_id in deal_ids])
        return {int(b["owner"].removeprefix("deal:")): int(b["balance_units"]) for b in found}

    async def all_held(self, after: int) -> list[Held]:
        """See the port."""
        found = await self._client.call("GET", "/internal/v1/held", params={"after": after})
        return [
            Held(h["id"], int(h["owner"].removeprefix("deal:")), int(h["balance_units"])) for h in found["held"]
        ]

    async def _balances(self, tenant_id: int, owners: list[str]) -> list[dict[str, Any]]:
        body = {"tenant_id": tenant_id, "owners": owners}
        found = await self._client.call("POST", "/internal/v1/balances", body)
        balances: list[dict[str, Any]] = found["balances"]
        return balances

    async def post(self, commands: Sequence[tuple[Deal, Command]]) -> list[Answer | None]:
        """See the port."""
        body = {"operations": [_operation(deal, command) for deal, command in commands]}
        found = await self._client.call("POST", "/internal/v1/operations", body)
        return [_answer(result) for result in found["results"]]

    async def void(self, command: Command) -> Answer:
        """See the port."""
        body = {"key": command.key}
        answer = _answer(await self._client.call("POST", "/internal/v1/operations/void", body))
        assert answer is not None, "a void always has a final outcome"
        return answer


def _operation(deal: Deal, command: Command) -> dict[str, Any]:
    held, customer, performer = (
        f"deal:{deal.id}",
        f"user:{deal.customer_id}",
        f"user:{deal.performer_id}",
    )
    giver, taker = {
        Movement.HOLD: (customer, held),
        Movement.RELEASE: (held, performer),
        Movement.REFUND: (held, customer),
    }[command.movement]
    return {
        "key": command.key,
        "kind": command.movement.value,
        "tenant_id": deal.tenant_id,
        "currency": deal.currency,
        "request_id": command.request_id,
        "legs": [
            {"owner": giver, "amount": str(-deal.price)},
            {"owner": taker, "amount": str(deal.price)},
        ],
    }


def _answer(result: dict[str, Any]) -> Answer | None:
    if result["outcome"] in ("mismatch", "invalid"):
        log.error("command.refused", key=result["key"], reason=result["reason"])
        return None
    return Answer(CommandState(result["outcome"]), result["reason"])
