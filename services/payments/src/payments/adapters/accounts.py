"""Accounts over HTTP."""

from collections import OrderedDict
from collections.abc import Sequence

from common.internal import InternalClient
from common.logging import get_logger
from payments.domain.model import Booking, Credited, Deposit

log = get_logger()

KNOWN_USERS = 100_000


class HttpAccounts:
    """See `payments.domain.ports.Accounts`. Users are never deleted, so those once seen are remembered."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client
        self._users: OrderedDict[tuple[int, int], None] = OrderedDict()

    async def user_exists(self, tenant_id: int, user_id: int) -> bool:
        """See the port."""
        if (tenant_id, user_id) not in self._users:
            body = {"tenant_id": tenant_id, "user_ids": [user_id]}
            found = await self._client.call("POST", "/internal/v1/users/lookup", body)
            if found["user_ids"] != [user_id]:
                return False
            self._users[tenant_id, user_id] = None
            if len(self._users) > KNOWN_USERS:
                self._users.popitem(last=False)
        return True

    async def credit(self, deposits: Sequence[Deposit]) -> list[bool]:
        """See the port. The body is the one that the event leads to: the key makes both one posting."""
        found = await self.book(
            [
                Booking(
                    key=deposit.key,
                    kind="deposit",
                    tenant_id=deposit.tenant_id,
                    currency=deposit.currency,
                    giver=f"external:{deposit.gateway_id}",
                    taker=f"user:{deposit.user_id}",
                    amount=deposit.amount,
                )
                for deposit in deposits
            ]
        )
        for deposit, (outcome, reason) in zip(deposits, found, strict=True):
            if outcome != "applied":
                log.error("deposit.refused", key=deposit.key, outcome=outcome, reason=reason)
        return [outcome == "applied" for outcome, _ in found]

    async def book(self, bookings: Sequence[Booking]) -> list[tuple[str, str | None]]:
        """See the port."""
        operations = [
            {
                "key": b.key,
                "kind": b.kind,
                "tenant_id": b.tenant_id,
                "currency": b.currency,
                "legs": [
                    {"owner": b.giver, "amount": str(-b.amount)},
                    {"owner": b.taker, "amount": str(b.amount)},
                ],
            }
            for b in bookings
        ]
        found = await self._client.call("POST", "/internal/v1/operations", {"operations": operations})
        return [(result["outcome"], result["reason"]) for result in found["results"]]

    async def credited(self, after: int) -> list[Credited]:
        """See the port."""
        found = await self._client.call("GET", "/internal/v1/outside", params={"after": after})
        return [
            Credited(
                place=d["id"],
                kind=d["kind"],
                key=d["key"],
                tenant_id=d["tenant_id"],
                owner=d["inside"] or "",
                gateway_id=(d["outside"] or "").removeprefix("external:"),
                currency=d["currency"] or "",
                amount=int(d["amount_units"]),
            )
            for d in found["operations"]
        ]

    async def booked(self, keys: Sequence[str]) -> dict[str, int]:
        """See the port."""
        found = await self._client.call("POST", "/internal/v1/outcomes", {"keys": list(keys)})
        return {o["key"]: int(o["amount_units"]) for o in found["outcomes"] if o["outcome"] == "applied"}
