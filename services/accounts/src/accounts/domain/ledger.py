"""The ledger's rules: which operations are well formed, and which of them the balances allow.

Pure: operations, account states and stored outcomes enter; a decision leaves. Nothing is read or written here.
Amounts are whole smallest units. An operation's legs sum to zero in one currency and one tenant.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MAX_ID = 2**63 - 1
MAX_AMOUNT = 10**30

_OWNER = re.compile(r"(user|deal|withdrawal):([1-9][0-9]{0,18})|external:[a-z0-9_]{1,40}|fees|operator", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_CURRENCY = re.compile(r"[A-Z][A-Z0-9]{1,11}")


class Outcome(StrEnum):
    """How an operation ended. The first three are stored and final, the last two only answered."""

    APPLIED = "applied"
    REJECTED = "rejected"
    VOIDED = "voided"
    MISMATCH = "mismatch"
    INVALID = "invalid"


PATTERNS: Mapping[str, tuple[str, str]] = {
    "hold": ("user", "deal"),
    "release": ("deal", "user"),
    "refund": ("deal", "user"),
    "deposit": ("external", "user"),
    "funding": ("external", "operator"),
    "fee": ("fees", "external"),
    "payout_hold": ("user", "withdrawal"),
    "payout": ("withdrawal", "external"),
    "payout_return": ("withdrawal", "user"),
}
"""For each kind of operation, the kind of account that gives and the kind that takes."""

KINDS_BY_CALLER: Mapping[str, frozenset[str]] = {
    "deals": frozenset({"hold", "release", "refund"}),
    "payments": frozenset({"deposit", "funding", "fee", "payout_hold", "payout", "payout_return"}),
}
"""The kinds of operation each service's credential may post."""

HOUSE_KINDS = frozenset({"funding", "fee"})
HOUSE_TENANT = 0
"""Whom fees and our own capital belong to: no marketplace."""

MATERIALISED = frozenset({"user", "deal", "withdrawal"})
FILLED_ONCE = frozenset({"deal", "withdrawal"})


@dataclass(frozen=True, slots=True)
class Leg:
    """One side of an operation: the account's owner and the signed amount in smallest units."""

    owner: str
    amount: int

    @property
    def kind(self) -> str:
        """The kind of account, for example `user`."""
        return self.owner.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Operation:
    """A posting that is applied once and whole, under its key."""

    key: str
    kind: str
    tenant_id: int
    currency: str
    legs: tuple[Leg, ...]
    request_id: str | None = None
    """The request that asked for it, for the events; no part of what the key stands for."""

    def fingerprint(self) -> bytes:
        """Return what the same key must always carry: a SHA-256 over all that moves money."""
        legs = sorted((leg.owner, leg.amount) for leg in self.legs)
        text = repr((self.kind, self.tenant_id, self.currency, legs))
        return hashlib.sha256(text.encode()).digest()

    def flaw(self) -> str | None:
        """Return what is wrong with the operation's form, or None."""
        pattern = PATTERNS.get(self.kind)
        if not _KEY.fullmatch(self.key):
            return "key"
        if pattern is None:
            return "kind"
        if not _CURRENCY.fullmatch(self.currency):
            return "currency"
        if (self.tenant_id == HOUSE_TENANT) != (self.kind in HOUSE_KINDS):
            return "tenant"
        if len(self.legs) != 2:
            return "legs"
        for leg in self.legs:
            match = _OWNER.fullmatch(leg.owner)
            if match is None or (match[2] and int(match[2]) > MAX_ID):
                return "owner"
            if leg.amount == 0 or abs(leg.amount) >= MAX_AMOUNT:
                return "amount"
        if sum(leg.amount for leg in self.legs) != 0:
            return "unbalanced"
        giver, taker = sorted(self.legs, key=lambda leg: leg.amount)
        return None if (giver.kind, taker.kind) == pattern else "pattern"


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the database holds it, locked when it is materialised."""

    id: int
    tenant_id: int
    owner: str
    currency: str
    balance: int
    seq: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The outcome that is stored under a key."""

    fingerprint: bytes
    outcome: Outcome
    reason: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one operation."""

    key: str
    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An adjustment to be appended; `seq` and `balance_after` only where the account is materialised."""

    key: str
    account: Account
    amount: int
    seq: int | None
    balance_after: int | None


@dataclass(slots=True)
class Decision:
    """What to answer and what to write for a batch of operations."""

    results: list[Result] = field(default_factory=list)
    fresh: list[tuple[Operation, Stored]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    changed: dict[int, Account] = field(default_factory=dict)


Accounts = Mapping[tuple[int, str, str], Account]
"""Accounts by (tenant, owner, currency)."""


def decide(operations: Sequence[Operation], accounts: Accounts, stored: Mapping[str, Stored]) -> Decision:
    """Decide a batch in its order, on running balances; one rejection leaves its neighbours alone.

    Args:
        operations: what is asked for; a key may come twice.
        accounts: every account that exists among those named, locked where materialised.
        stored: the outcomes already stored under these keys.
    """
    decision = Decision()
    known = dict(stored)
    for operation in operations:
        # The form is judged first: what a malformed operation hears must not depend on whom its key met.
        result = _flaw(operation) or _answer_from(known.get(operation.key), operation)
        if result is None:
            result = _decide_one(operation, accounts, decision)
            if result.outcome is not Outcome.INVALID:
                known[operation.key] = Stored(operation.fingerprint(), result.outcome, result.reason)
                decision.fresh.append((operation, known[operation.key]))
        decision.results.append(result)
    return decision


def _flaw(operation: Operation) -> Result | None:
    flaw = operation.flaw()
    return None if flaw is None else Result(operation.key, Outcome.INVALID, flaw)


def _answer_from(stored: Stored | None, operation: Operation) -> Result | None:
    if stored is None:
        return None
    if stored.outcome is not Outcome.VOIDED and stored.fingerprint != operation.fingerprint():
        return Result(operation.key, Outcome.MISMATCH, "the key was used for another operation")
    return Result(operation.key, stored.outcome, stored.reason)


def _decide_one(operation: Operation, accounts: Accounts, decision: Decision) -> Result:
    touched: list[tuple[Account, Leg]] = []
    for leg in operation.legs:
        account = accounts.get((operation.tenant_id, leg.owner, operation.currency))
        if account is None:
            return Result(operation.key, Outcome.INVALID, "unknown_account")
        touched.append((decision.changed.get(account.id, account), leg))
    for account, leg in touched:
        refusal = _refusal(account, leg)
        if refusal is not None:
            return Result(operation.key, Outcome.REJECTED, refusal)
    for account, leg in touched:
        decision.entries.append(_apply(operation.key, account, leg, decision))
    return Result(operation.key, Outcome.APPLIED)


def _refusal(account: Account, leg: Leg) -> str | None:
    if leg.kind in FILLED_ONCE:
        if leg.amount > 0 and account.seq != 0:
            return "already_held"
        if leg.amount < 0 and (account.seq != 1 or account.balance + leg.amount != 0):
            return "not_held"
    if leg.kind in MATERIALISED and account.balance + leg.amount < 0:
        return "insufficient_funds"
    return None


def _apply(key: str, account: Account, leg: Leg, decision: Decision) -> Entry:
    if leg.kind not in MATERIALISED:
        return Entry(key, account, leg.amount, None, None)
    balance, seq = account.balance + leg.amount, account.seq + 1
    after = Account(account.id, account.tenant_id, account.owner, account.currency, balance, seq)
    decision.changed[account.id] = after
    return Entry(key, after, leg.amount, after.seq, after.balance)
