"""Deals and their money as dictionaries: the page on the product's contract, told once more without a database.

What enters: what people ask for, what the worker does, and how the line to the ledger is. What leaves: the answer
each must have and how everything stands afterwards. Nothing here comes from the service's code.

Where the contract leaves a choice, this is the one made:
- What is already done is answered the same also while other money of the deal is in flight.
- Cancel and expiry void a hold in flight; the deal ends so unless the ledger had applied the hold already.
- While money is in flight no action is named as allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

ALLOWED: dict[str, tuple[str, ...]] = {
    "created": ("confirm", "deny", "cancel"),
    "waiting_for_payment": ("cancel",),
    "confirm_performer": ("close", "dispute"),
    "confirmed": ("close", "dispute"),
    "dispute": ("close_performer", "close_customer"),
}
"""The actions that change a deal; a status that is not named is final."""
DONE: dict[str, tuple[str, ...]] = {
    "confirm": ("waiting_for_payment", "confirm_performer", "confirmed"),
    "deny": ("deny_performer",),
    "cancel": ("cancelled",),
    "close": ("close",),
    "dispute": ("dispute",),
    "close_performer": ("arb_close_performer",),
    "close_customer": ("arb_close_customer",),
}
REACHES = {
    "confirm": "confirm_performer",
    "fund": "confirmed",
    **{action: statuses[0] for action, statuses in DONE.items() if action != "confirm"},
}
MOVES = {
    "confirm": "hold",
    "fund": "hold",
    "close": "release",
    "close_performer": "release",
    "close_customer": "refund",
}
ENDS = {"cancelled": "cancel", "expired": "expire"}
UNFUNDED = ("created", "waiting_for_payment")
HOLDING = ("confirm_performer", "confirmed", "dispute")
EVENTS = {
    "created": "deal.created",
    "deny_performer": "deal.denied",
    "waiting_for_payment": "deal.waiting_for_payment",
    "confirm_performer": "deal.confirmed",
    "confirmed": "deal.confirmed",
    "dispute": "dispute.opened",
    "close": "deal.closed",
    "arb_close_performer": "dispute.closed",
    "arb_close_customer": "dispute.closed",
    "cancelled": "deal.cancelled",
    "expired": "deal.expired",
}


@dataclass(slots=True)
class InFlight:
    """Money whose outcome deals does not know; the ledger may know it."""

    action: str
    ends: str | None = None
    outcome: str | None = None


@dataclass(slots=True)
class DealModel:
    """A deal; the price is in smallest units."""

    id: int
    customer: int
    performer: int
    price: int
    deadline: datetime | None
    status: str = "created"
    overdue: bool = False
    about: tuple[str, str] | None = None
    money: InFlight | None = None
    held: int = 0
    told: list[str] = field(default_factory=lambda: ["deal.created"])

    @property
    def allowed(self) -> list[str]:
        """The actions that are named as allowed."""
        return [] if self.money else list(ALLOWED.get(self.status, ()))

    @property
    def pending(self) -> str | None:
        """What the deal is seen to wait for."""
        if self.money is None:
            return None
        return ENDS[self.money.ends] if self.money.ends else self.money.action

    def reach(self, status: str) -> None:
        """Take a new status, which is told once."""
        self.status = status
        self.told.append(EVENTS[status])

    def view(self) -> tuple[object, ...]:
        """Return what of the deal can be seen from outside."""
        return (self.id, self.status, self.allowed, self.pending, self.overdue, self.about, self.held)


@dataclass(frozen=True, slots=True)
class Answer:
    """The status code of an answer, and whether what was asked for changed anything."""

    code: int
    changes: bool


@dataclass(slots=True)
class World:
    """Some users, their deals, and the line between deals and accounts."""

    balances: dict[int, int]
    deals: list[DealModel] = field(default_factory=list)
    wanted: set[int] = field(default_factory=set)
    """Customers whose waiting deals are to be looked at."""
    credited: list[int] = field(default_factory=list)
    """Users whose balance grew and of whom deals has not heard."""
    seen: set[int] = field(default_factory=set)
    """Users of whom deals knows that they exist."""
    deposits: int = 0
    fault: str = "ok"
    only: str = ""

    def line(self, path: str) -> str:
        """Return what becomes of a call to this path: `ok`, `cut` or `deaf`."""
        return self.fault if path.endswith(self.only) else "ok"

    def credit(self, user: int, units: int) -> None:
        """Money arrives from outside."""
        self.deposits += units
        self._give(user, units)

    def _give(self, user: int, units: int) -> None:
        self.balances[user] += units
        self.credited.append(user)

    def create(self, customer: int, performer: int, *, late: bool) -> Answer:
        """Return how asking for a deal ends; the caller adds the deal under its id."""
        if customer == performer or late:
            return Answer(422, changes=False)
        new = {customer, performer} - self.seen
        if new and self.line("/users/lookup") != "ok":
            return Answer(503, changes=False)
        if not new <= set(self.balances):
            return Answer(404, changes=False)
        self.seen |= new
        return Answer(200, changes=True)

    def ask(self, deal: DealModel, action: str, about: tuple[str, str] | None = None) -> Answer:
        """Ask for a public action."""
        done = 204 if action == "deny" else 200
        if deal.status in DONE[action] and (action != "dispute" or deal.about == about):
            return Answer(done, changes=False)
        if deal.money is not None:
            return self._ask_beside(deal.money, action)
        if action not in ALLOWED.get(deal.status, ()):
            return Answer(409, changes=False)
        if action in MOVES:
            deal.money = InFlight(action)
            self._post([deal])
            return Answer(200 if deal.money is None else 202, changes=True)
        deal.about = about or deal.about
        deal.reach(REACHES[action])
        return Answer(done, changes=True)

    def _ask_beside(self, money: InFlight, action: str) -> Answer:
        if action == "cancel" and MOVES[money.action] == "hold" and money.ends != "expired":
            first, money.ends = money.ends is None, "cancelled"
            return Answer(202, changes=first)
        same = action == money.action and money.ends is None
        return Answer(202 if same else 409, changes=False)

    def _post(self, deals: Sequence[DealModel]) -> None:
        line = self.line("/operations")
        if line == "cut":
            return
        for deal in deals:
            self._move(deal)
        if line == "ok":
            for deal in deals:
                self._record(deal)

    def _move(self, deal: DealModel) -> None:
        """Let the ledger do what it can, once."""
        assert deal.money is not None
        movement = MOVES[deal.money.action]
        if deal.money.outcome is not None:
            return
        if movement == "hold" and self.balances[deal.customer] < deal.price:
            deal.money.outcome = "rejected"
            return
        deal.money.outcome = "applied"
        if movement == "hold":
            self.balances[deal.customer] -= deal.price
            deal.held = deal.price
        else:
            assert deal.held == deal.price
            deal.held = 0
            self._give(deal.performer if movement == "release" else deal.customer, deal.price)

    def _record(self, deal: DealModel) -> None:
        """Let deals hear the outcome."""
        money, deal.money = deal.money, None
        assert money is not None
        if money.outcome == "applied":
            deal.reach(REACHES[money.action])
        elif money.ends is not None:
            deal.reach(money.ends)
        else:
            self.wanted.add(deal.customer)
            if deal.status != "waiting_for_payment":
                deal.reach("waiting_for_payment")

    def settle(self, order: Sequence[int]) -> None:
        """Let the worker try all that is in flight, once; the ledger meets the deals in this order."""
        flying = [deal for i in order if (deal := self.deals[i]).money is not None]
        voids = [deal for deal in flying if deal.money and deal.money.ends]
        self._post([deal for deal in flying if deal not in voids])
        for deal in voids:
            line = self.line("/operations/void")
            if deal.money and line != "cut":
                deal.money.outcome = deal.money.outcome or "voided"
                if line == "ok":
                    self._record(deal)

    def hear_of_credits(self) -> None:
        """Let deals hear of all credits: where a deal of that customer waits a look is wanted."""
        waiting = {deal.customer for deal in self.deals if deal.status == "waiting_for_payment"}
        self.wanted |= waiting & set(self.credited)
        self.credited.clear()

    def fund(self) -> None:
        """Let the worker look at the waiting deals of those of whom it is wanted: the oldest first, what fits."""
        for customer in sorted(self.wanted):
            waiting = [
                deal
                for deal in self.deals
                if (deal.customer, deal.status, deal.money) == (customer, "waiting_for_payment", None)
            ]
            if waiting and self.line("/balances") != "ok":
                continue
            left, fitting = self.balances[customer], []
            for deal in waiting:
                if deal.price <= left:
                    left -= deal.price
                    fitting.append(deal)
                    deal.money = InFlight("fund")
            self._post(fitting)
            if not fitting or self.line("/operations") == "ok":
                self.wanted.discard(customer)

    def pass_deadlines(self, now: datetime) -> None:
        """An unpaid deal past its deadline expires; a funded one is told overdue once."""
        for deal in self.deals:
            if deal.deadline is None or deal.deadline > now:
                continue
            if deal.status in UNFUNDED and deal.money is None:
                deal.reach("expired")
            elif deal.status in UNFUNDED and deal.money and deal.money.ends is None:
                deal.money.ends = "expired"
            elif deal.status in HOLDING and not deal.overdue:
                deal.overdue = True
                deal.told.append("deal.overdue")

    def view(self) -> tuple[object, ...]:
        """Return all that can be seen from outside."""
        return (self.balances, [deal.view() for deal in self.deals])
