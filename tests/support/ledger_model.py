"""The ledger as a dictionary: what the architecture says of operations, told once more without a database.

What enters: operations as they are posted, in their order. What leaves: the outcome each must have.
Nothing here comes from the service's code.
"""

import re
from dataclasses import dataclass, field
from typing import Any

KEY = re.compile(r"[A-Za-z0-9_.:-]{1,200}", re.ASCII)
CURRENCY = re.compile(r"[A-Z][A-Z0-9]{1,11}", re.ASCII)
OWNER = re.compile(r"(?:(user|deal|withdrawal):([1-9][0-9]*)|(external):[a-z0-9_]+|(fees)|(operator))", re.ASCII)
SIDES = {
    "deposit": ("external", "user"),
    "hold": ("user", "deal"),
    "release": ("deal", "user"),
    "refund": ("deal", "user"),
}
HELD = ("user", "deal")

Account = tuple[str, str]
"""Owner and currency; ids of users and deals are unique across tenants."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an account's statement."""

    amount: int
    balance_after: int
    kind: str
    key: str


@dataclass(slots=True)
class Verdict:
    """An outcome, and the reasons that may be given for it."""

    outcome: str
    reasons: set[str | None]
    body: object = None


@dataclass(slots=True)
class LedgerModel:
    """Balances, statements and stored outcomes of some tenants' users and deals."""

    users: dict[int, int]
    """The tenant of each user."""
    homes: dict[Account, int] = field(default_factory=dict)
    """The tenant of each account: whose known user it first met in a well-formed operation."""
    statements: dict[Account, list[Line]] = field(default_factory=dict)
    stored: dict[str, Verdict] = field(default_factory=dict)
    told: list[tuple[int, str, int, Line]] = field(default_factory=list)
    """Each change of a user's balance, in its order: the tenant, the owner, the line's number and the line."""

    def balance(self, account: Account) -> int:
        """Return a balance in smallest units."""
        lines = self.statements.get(account)
        return lines[-1].balance_after if lines else 0

    def post(self, batch: list[dict[str, Any]]) -> list[Verdict]:
        """Return how the operations of one transaction must end, and let it happen in their order.

        Accounts are opened first; of two tenants that name the same new account at once the older one gets it.
        """
        for operation in sorted(batch, key=lambda o: int(o["tenant_id"])):
            if well_formed(operation) and self._users_known(operation):
                for account in _accounts(operation):
                    self.homes.setdefault(account, operation["tenant_id"])
        return [self._post_one(operation) for operation in batch]

    def _post_one(self, operation: dict[str, Any]) -> Verdict:
        if not well_formed(operation):
            return Verdict("invalid", set())
        found = self.stored.get(operation["key"])
        if found is not None:
            same = found.outcome == "voided" or found.body == body(operation)
            return found if same else Verdict("mismatch", set())
        tenant = operation["tenant_id"]
        ours = all(self.homes.get(account) == tenant for account in _accounts(operation))
        if not ours or not self._users_known(operation):
            return Verdict("invalid", {"unknown_account"})
        verdict = self._decide(operation)
        verdict.body = body(operation)
        self.stored[operation["key"]] = verdict
        return verdict

    def void(self, key: str) -> Verdict:
        """Return the key's final outcome: `voided` where it had none."""
        return self.stored.setdefault(key, Verdict("voided", {None}))

    def _users_known(self, operation: dict[str, Any]) -> bool:
        named = [int(owner[5:]) for owner, _ in _accounts(operation) if owner.startswith("user:")]
        return all(self.users.get(user) == operation["tenant_id"] for user in named)

    def _decide(self, operation: dict[str, Any]) -> Verdict:
        legs = [(leg["owner"], operation["currency"], int(leg["amount"])) for leg in operation["legs"]]
        reasons: set[str | None] = set()
        for owner, currency, amount in legs:
            account = (owner, currency)
            if owner.startswith("deal:") and amount > 0 and self.statements.get(account):
                reasons.add("already_held")
            if owner.startswith("deal:") and amount < 0 and self.balance(account) != -amount:
                reasons.add("not_held")
            if owner.startswith("user:") and self.balance(account) + amount < 0:
                reasons.add("insufficient_funds")
        if reasons:
            return Verdict("rejected", reasons)
        for owner, currency, amount in legs:
            if owner.startswith(HELD):
                after = self.balance((owner, currency)) + amount
                line = Line(amount, after, operation["kind"], operation["key"])
                lines = self.statements.setdefault((owner, currency), [])
                lines.append(line)
                if owner.startswith("user:"):
                    self.told.append((operation["tenant_id"], owner, len(lines), line))
        return Verdict("applied", {None})


def body(operation: dict[str, Any]) -> object:
    """Return what the same key must always carry; the order of the legs is no part of it."""
    legs = frozenset((leg["owner"], int(leg["amount"])) for leg in operation["legs"])
    return (operation["kind"], operation["tenant_id"], operation["currency"], legs)


def well_formed(operation: dict[str, Any]) -> bool:
    """Tell whether an operation has the form of its kind: two sides, whole amounts, a sum of zero."""
    if not KEY.fullmatch(operation["key"]) or not CURRENCY.fullmatch(operation["currency"]):
        return False
    if operation["kind"] not in SIDES or len(operation["legs"]) != 2:
        return False
    amounts = {_kind(leg["owner"]): int(leg["amount"]) for leg in operation["legs"]}
    giver, taker = SIDES[operation["kind"]]
    if set(amounts) != {giver, taker} or not 0 < amounts[taker] < 10**30:
        return False
    return amounts[giver] == -amounts[taker]


def _accounts(operation: dict[str, Any]) -> list[Account]:
    """Return the accounts of an operation that hold somebody's money; what is outside has no owner to guard."""
    owners = [leg["owner"] for leg in operation["legs"]]
    return [(owner, operation["currency"]) for owner in owners if owner.startswith(HELD)]


def _kind(owner: str) -> str | None:
    match = OWNER.fullmatch(owner)
    if match is None or (match[2] and int(match[2]) >= 2**63):
        return None
    return owner.partition(":")[0]
