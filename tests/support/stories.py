"""Stories that a marketplace's users live through, each with users of its own and an end that is known.

A story asks again for what was not answered, as a client would, and knows in which statuses each of its deals may
end. `arm` is called just before what the story is about, so that a test can let something die there.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from tronpy.keys import PrivateKey

from support.client import Client

UNIT = 1_000_000
DEPOSIT = 25
"""What a customer with money has, in whole USDT."""
PRICE = 10
DEADLINE_S = 6


@dataclass(frozen=True, slots=True)
class Told:
    """What a story knows of a deal of its own."""

    price: int
    ends: frozenset[str]


@dataclass(slots=True)
class Cast:
    """A customer and a performer, and what they did."""

    client: Client
    customer: int = 0
    performer: int = 0
    paid: list[int] = field(default_factory=list)
    """The payments that money was sent for."""
    addresses: set[str] = field(default_factory=set)
    deals: dict[int, Told] = field(default_factory=dict)
    withdrawn: dict[str, int] = field(default_factory=dict)
    """What was asked to be paid out, in units, by address."""
    arm: Callable[[], None] = lambda: None

    async def enter(self, *, with_money: bool) -> None:
        """Create the users, and pay for the customer."""
        self.customer, self.performer = await self._user("Alice"), await self._user("Bob")
        if with_money:
            await self.pay(DEPOSIT)

    async def _user(self, name: str) -> int:
        body = {"name": name, "external_id": secrets.randbelow(2**60) + 1}
        first = await self.expect("POST", "/user/", body)
        again = await self.expect("POST", "/user/", body)
        assert first["id"] == again["id"]
        return int(first["id"])

    async def expect(self, method: str, path: str, body: Any = None, key: str = "API_KEY") -> Any:
        """Call and return the JSON of a 200."""
        answer = await self.client.ask(method, path, body, key)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def balance(self, user_id: int) -> int:
        """Return a user's balance in units."""
        return int(_units((await self.expect("GET", f"/user/{user_id}/balance"))[0]["balance"]))

    async def pay(self, usdt: int) -> None:
        """Pay on chain, and wait until the customer has the money."""
        before = await self.balance(self.customer)
        await self.send(await self.payment(usdt), usdt)
        await self.client.until(
            f"the credit of user {self.customer}",
            lambda: self.balance(self.customer),
            lambda found: found >= before + usdt * UNIT,
        )

    async def payment(self, usdt: int) -> str:
        """Create a payment and return its address."""
        body = {"gateway_id": "tron_usdt", "user_id": self.customer, "amount": str(usdt), "currency": "USDT"}
        answer = await self.client.ask("POST", "/payment", body, once=secrets.token_hex(8))
        assert answer.status_code == 200, answer.text
        payment = answer.json()
        self.paid.append(payment["payment_id"])
        address: str = payment["gateway_data"]["address"]
        self.addresses.add(address)
        return address

    async def send(self, address: str, usdt: int) -> None:
        """Send USDT on chain; when the answer was lost it may be sent twice, and the chain tells."""
        await self.client.node("admin/faucet", address=address, usdt=str(usdt))

    async def deal(self, *ends: str, price: int = PRICE, deadline_s: float | None = None) -> int:
        """Create a deal that may end so."""
        body: dict[str, Any] = {
            "title": "A logo",
            "description": "Three drafts",
            "price": str(price),
            "customer_id": self.customer,
            "performer_id": self.performer,
        }

        async def attempt() -> httpx.Response:
            if deadline_s is not None:  # it may have passed before the deal was stored
                body["deadline_at"] = (datetime.now(UTC) + timedelta(seconds=deadline_s)).isoformat()
            return await self.client.ask("POST", "/deal/", body, once=secrets.token_hex(8))

        late = 422 if deadline_s is not None else None
        answer = await self.client.until("a new deal", attempt, lambda a: a.status_code != late)
        assert answer.status_code == 200, answer.text
        deal_id = int(answer.json()["deal_id"])
        self.deals[deal_id] = Told(price * UNIT, frozenset(ends))
        return deal_id

    async def read(self, deal_id: int) -> dict[str, Any]:
        """Read a deal."""
        found: dict[str, Any] = await self.expect("GET", f"/deal/{deal_id}")
        return found

    async def until(self, deal_id: int, *statuses: str) -> None:
        """Wait until a deal is in one of the statuses, with nothing in flight."""
        await self.client.until(
            f"deal {deal_id} to be {' or '.join(statuses)}",
            lambda: self.read(deal_id),
            lambda deal: deal["status"] in statuses and deal["pending"] is None,
        )

    async def act(
        self, deal_id: int, action: str, body: Any = None, key: str = "API_KEY", *, refusable: bool = False
    ) -> httpx.Response:
        """Do an action until it is done; while something is in flight, ask again.

        Args:
            refusable: a refusal by the deal's status is an answer too.
        """

        async def attempt() -> httpx.Response | None:
            answer = await self.client.ask("POST", f"/deal/{deal_id}/{action}", body, key)
            pending = answer.status_code == 409 and answer.json()["code"] == "pending"
            return None if answer.status_code == 202 or pending else answer

        answer = await self.client.until(f"{action} of deal {deal_id}", attempt, lambda found: found is not None)
        assert answer is not None
        done = answer.status_code in (200, 204) or (refusable and answer.status_code == 409)
        assert done, f"{action} of deal {deal_id}: {answer.status_code} {answer.text}"
        return answer

    async def funded(self, *ends: str) -> int:
        """Create a deal and confirm it with money at hand."""
        deal_id = await self.deal(*ends)
        await self.act(deal_id, "confirm")
        await self.until(deal_id, "confirm_performer")
        return deal_id

    async def disputed(self, *ends: str) -> int:
        """Create a deal, fund it, and open a dispute."""
        deal_id = await self.funded(*ends)
        await self.act(deal_id, "dispute", {"title": "Late", "description": "Nothing came"})
        return deal_id


def _units(text: str) -> int:
    whole, _, decimals = text.partition(".")
    return int(whole) * UNIT + int(decimals.ljust(6, "0"))


async def arrive(cast: Cast) -> None:
    """Two users come; asking again gives the same ones."""
    cast.arm()
    await cast.enter(with_money=False)


async def confirm(cast: Cast) -> None:
    """A deal is confirmed with money at hand."""
    cast.arm()
    await cast.funded("confirm_performer")


async def close(cast: Cast) -> None:
    """The work is accepted."""
    deal_id = await cast.funded("close")
    cast.arm()
    await cast.act(deal_id, "close")


async def award(cast: Cast) -> None:
    """The arbiter decides for the performer."""
    deal_id = await cast.disputed("arb_close_performer")
    cast.arm()
    await cast.act(deal_id, "dispute/close_preformer", key="ARBITER_API_KEY")


async def refund(cast: Cast) -> None:
    """The arbiter decides for the customer."""
    deal_id = await cast.disputed("arb_close_customer")
    cast.arm()
    await cast.act(deal_id, "dispute/close_customer", key="ARBITER_API_KEY")


async def dispute(cast: Cast) -> None:
    """A dispute is opened and stays open."""
    deal_id = await cast.funded("dispute")
    cast.arm()
    await cast.act(deal_id, "dispute", {"title": "Late", "description": "Nothing came"})


async def deny(cast: Cast) -> None:
    """The performer does not agree."""
    deal_id = await cast.deal("deny_performer")
    cast.arm()
    await cast.act(deal_id, "deny")


async def cancel(cast: Cast) -> None:
    """A deal that nobody pays is given up."""
    deal_id = await cast.deal("cancelled")
    await cast.act(deal_id, "confirm")
    cast.arm()
    await cast.act(deal_id, "cancel")


async def wait(cast: Cast) -> None:
    """A deal that nobody pays waits."""
    deal_id = await cast.deal("waiting_for_payment")
    cast.arm()
    await cast.act(deal_id, "confirm")


async def expire(cast: Cast) -> None:
    """A deal that nobody pays passes its deadline; a confirmation may come too late."""
    deal_id = await cast.deal("expired", deadline_s=DEADLINE_S)
    cast.arm()
    await cast.act(deal_id, "confirm", refusable=True)
    await cast.until(deal_id, "expired")


async def credit(cast: Cast) -> None:
    """Two deals wait, the money for both comes by the chain, and one of them is closed."""
    kept, closed = await cast.deal("confirmed"), await cast.deal("close", price=7)
    for deal_id in (kept, closed):
        await cast.act(deal_id, "confirm")
        await cast.until(deal_id, "waiting_for_payment")
    cast.arm()
    await cast.send(await cast.payment(17), 17)
    await cast.until(kept, "confirmed")
    await cast.until(closed, "confirmed")
    await cast.act(closed, "close")


async def withdraw(cast: Cast) -> None:
    """A customer takes a part of the money out again; asking twice with one key is one withdrawal."""
    to = PrivateKey.random().public_key.to_base58check_address()
    body = {"gateway_id": "tron_usdt", "user_id": cast.customer, "amount": "4", "currency": "USDT", "address": to}
    once = secrets.token_hex(8)
    cast.withdrawn[to] = 4 * UNIT
    cast.arm()
    for _ in range(2):
        answer = await cast.client.ask("POST", "/payment/withdrawal", body, key="WITHDRAW_API_KEY", once=once)
        assert answer.status_code in (200, 202), answer.text
    withdrawal = answer.json()["withdrawal_id"]
    await cast.client.until(
        f"the end of withdrawal {withdrawal}",
        lambda: cast.expect("GET", f"/payment/withdrawal/{withdrawal}"),
        lambda found: found["status"] == "success",
    )


Play = Callable[[Cast], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Story:
    """A story and what it wants.

    Attributes:
        with_money: the customer has money at hand.
        slow: it takes minutes.
        alone: others can't be told meanwhile.
        command: a command dies in it, and the service lives on.
    """

    play: Play
    with_money: bool = False
    slow: bool = False
    alone: bool = False
    command: bool = False


STORIES = {
    "arrive": Story(arrive),
    "confirm": Story(confirm, with_money=True),
    "close": Story(close, with_money=True),
    "award": Story(award, with_money=True),
    "refund": Story(refund, with_money=True),
    "dispute": Story(dispute, with_money=True),
    "deny": Story(deny),
    "cancel": Story(cancel),
    "wait": Story(wait),
    "expire": Story(expire),
    "credit": Story(credit),
    "withdraw": Story(withdraw, with_money=True),
}
