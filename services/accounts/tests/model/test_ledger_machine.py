"""The ledger beside a dictionary: whatever is posted in whatever order, the two say the same.

An answer without effect leaves every row as it is, down to the transaction that wrote it, but for this: a
`rejected` outcome stores its own operation row, and a well-formed operation may leave accounts open that never
moved (balance 0, seq 0), since naming an account is what opens it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from hypothesis import strategies as st
from hypothesis.stateful import invariant

from accounts.api.schemas import UserOut
from accounts.domain.ledger import Leg, Operation
from accounts.use_cases import manage_keys
from accounts.use_cases.check_invariants import check_invariants
from accounts.use_cases.read_users import find_balances
from accounts.use_cases.upsert_user import upsert_user
from support.ledger_model import SIDES, LedgerModel, Line, Verdict, body
from support.machines import Digest, Machine, Size, play, sizes, step
from support.servers import Databases

KINDS = {"payments": ["deposit"], "deals": ["hold", "release", "refund"]}
Told = tuple[str, str, str | None]
"""What the ledger answers for an operation: its key, the outcome, the reason."""
DEALS = 3
UNKNOWN_USER = 2**62
FLAWS: dict[str, dict[str, Any]] = {
    "no key": {"key": ""},
    "a key with a space": {"key": "a b"},
    "a long key": {"key": "k" * 201},
    "a small currency": {"currency": "usdt"},
    "a currency with NUL": {"currency": "US\x00DT"},
    "no currency": {"currency": ""},
    "nothing moves": {"scale": 0},
    "backwards": {"scale": -1},
    "too much": {"amount": 10**30},
    "unbalanced": {"extra": 1},
    "one leg": {"legs": 1},
    "three legs": {"legs": 3},
    "user 0": {"user": "user:0"},
    "a user beyond bigint": {"user": "user:9223372036854775808"},
    "a user with a zero before": {"user": "user:01"},
    "no owner": {"user": ""},
    "fees": {"user": "fees"},
    "the operator": {"user": "operator"},
}


@dataclass(frozen=True, slots=True)
class Draft:
    """An operation before the example's ids are known.

    A `key` below zero picks a new one; an `amount` of -1 picks what fits just so, of -2 one unit more.
    """

    kind: str
    user: int
    deal: int
    amount: int
    key: int
    tenant: int
    flaw: str | None


def drafts(*kinds: str, sound: bool = False) -> st.SearchStrategy[Draft]:
    """Return drafts of these kinds; most of them are well formed and of the right tenant."""
    return st.builds(
        Draft,
        kind=st.sampled_from(kinds),
        user=st.integers(-1, 3) if not sound else st.integers(0, 3),
        deal=st.integers(0, DEALS - 1),
        amount=st.one_of(st.sampled_from([-1, -1, -2]), st.integers(1, 30), st.sampled_from([10**30 - 1, 10**18])),
        key=st.one_of(st.just(-1), st.just(-1), st.integers(0, 5)),
        tenant=st.sampled_from([0, 0, 0, 0, 1]) if not sound else st.just(0),
        flaw=st.one_of(st.none(), st.none(), st.none(), st.sampled_from(sorted(FLAWS)))
        if not sound
        else st.none(),
    )


BATCHES = {caller: st.lists(drafts(*kinds), min_size=1, max_size=5) for caller, kinds in KINDS.items()}
MIXED = st.lists(drafts(*SIDES), min_size=1, max_size=4)


class LedgerMachine(Machine):
    """Two tenants with two users each, three deals, and all that can be said to the ledger about them."""

    async def begin(self) -> None:
        """Open the tenants and their users."""
        database = self.ground.house.accounts_db
        self.names = [f"left-{self.number}", f"right-{self.number}"]
        self.tenants = [await manage_keys.create_tenant(database, name) for name in self.names]
        for name, tenant in zip(self.names, self.tenants, strict=True):
            self.ground.house.keys[name] = (await manage_keys.create_key(database, tenant, ["default"]))[1]
        self.users = [
            (await upsert_user(database, tenant, (n, f"user {n}"), None, UserOut.of)).id
            for tenant in self.tenants
            for n in (1, 2)
        ]
        self.model = LedgerModel({user: self.tenants[i // 2] for i, user in enumerate(self.users)})
        self.sent: list[dict[str, Any]] = []
        self.fresh_keys = 0
        self.looked: dict[int, int] = {}

    def operation(self, draft: Draft) -> dict[str, Any]:
        """Return the operation a draft stands for, as it is posted."""
        user = UNKNOWN_USER if draft.user < 0 else self.users[draft.user]
        owner = f"deal:{self.number * 10 + draft.deal + 1}"
        amount = draft.amount
        if amount < 0:
            fits = f"user:{user}" if draft.kind == "hold" else owner
            amount = (self.model.balance((fits, "USDT")) or 5) + (draft.amount == -2)
        change = {"scale": 1, "extra": 0, "legs": 2, "user": f"user:{user}", **FLAWS.get(draft.flaw or "", {})}
        amount = change.get("amount", amount) * change["scale"]
        sides = {"user": change["user"], "deal": owner, "external": "external:tron_usdt"}
        giver, taker = (sides[side] for side in SIDES[draft.kind])
        legs = [
            {"owner": giver, "amount": str(-amount + change["extra"])},
            {"owner": taker, "amount": str(amount)},
            {"owner": owner, "amount": "1"},
        ]
        home = self.tenants[max(draft.user, 0) // 2]
        other = next(t for t in self.tenants if t != home)
        return {
            "key": change.get("key", self._key(draft)),
            "kind": draft.kind,
            "tenant_id": other if draft.tenant else home,
            "currency": change.get("currency", "USDT"),
            "legs": legs[: change["legs"]],
        }

    def _key(self, draft: Draft) -> str:
        if draft.key >= 0:
            return self.pool[draft.key]
        self.fresh_keys += 1
        return f"fresh:{self.number}:{self.fresh_keys}"

    @property
    def pool(self) -> list[str]:
        """The keys that operations and voids meet on."""
        return [f"deal:{self.number * 10 + deal + 1}:hold:{n}" for deal in range(DEALS) for n in (1, 2)]

    @step(weight=3, batch=BATCHES["payments"])
    def payments_post(self, batch: list[Draft]) -> None:
        """Payments posts deposits, well formed or not."""
        self.post("payments", [self.operation(draft) for draft in batch])

    @step(weight=3, batch=BATCHES["deals"])
    def deals_post(self, batch: list[Draft]) -> None:
        """Deals posts holds, releases and refunds, well formed or not."""
        self.post("deals", [self.operation(draft) for draft in batch])

    @step(weight=3, draft=drafts("deposit", sound=True))
    def a_deposit_arrives(self, draft: Draft) -> None:
        """Payments posts a sound deposit: without money nothing else is of interest."""
        self.post("payments", [self.operation(draft)])

    @step(
        weight=2,
        user=st.integers(0, 3),
        deal=st.integers(0, DEALS - 1),
        way=st.sampled_from(["release", "refund"]),
        amount=st.sampled_from([-1, -2]),
    )
    def a_deal_is_played(self, user: int, deal: int, way: str, amount: int) -> None:
        """A hold of all that the user has, or of one unit more, and its end, in one batch."""
        hold = self.operation(Draft("hold", user, deal, amount, -1, 0, None))
        end = self.operation(Draft(way, user, deal, int(hold["legs"][1]["amount"]), -1, 0, None))
        self.post("deals", [hold, end])

    @step(weight=2, when=lambda self: self.sent, which=st.integers(0, 10**6), swapped=st.booleans())
    def the_same_is_posted_again(self, which: int, swapped: bool) -> None:
        """A retry; the order of its legs is no part of what it says."""
        again = dict(self.sent[which % len(self.sent)])
        again["legs"] = again["legs"][::-1] if swapped else again["legs"]
        self.post("payments" if again["kind"] == "deposit" else "deals", [again, again])

    @step(when=lambda self: self.sent, which=st.integers(0, 10**6), draft=drafts(*SIDES))
    def a_key_is_used_for_something_else(self, which: int, draft: Draft) -> None:
        """A conflict: the key of what was posted, another body."""
        conflict = self.operation(draft) | {"key": self.sent[which % len(self.sent)]["key"]}
        self.post("payments" if conflict["kind"] == "deposit" else "deals", [conflict])

    @step(weight=3, first=MIXED, second=MIXED)
    def strangers_meet_in_one_transaction(self, first: list[Draft], second: list[Draft]) -> None:
        """Two callers at once are gathered; neither hears of the other."""
        batches = [[self.operation(draft) for draft in some] for some in (first, second)]
        self.watch([o for batch in batches for o in batch], lambda: self._gathered(batches))

    async def _gathered(self, batches: list[list[dict[str, Any]]]) -> list[Told]:
        ledger = self.ground.house.ledger
        first, second = ([_domain(o) for o in batch] for batch in batches)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ledger.post(batch)) for batch in (first, second)]
        return [(r.key, r.outcome.value, r.reason) for task in tasks for r in task.result()]

    @step(which=st.integers(0, 5))
    def deals_voids(self, which: int) -> None:
        """Deals voids the key of a hold."""
        key = self.pool[which]
        new = key not in self.model.stored
        before = self.run(self.digest())
        answer = self.run(self._internal("deals", "/operations/void", {"key": key})).json()
        check(key, self.model.void(key), (answer["key"], answer["outcome"], answer["reason"]))
        assert self.run(self.digest([key] if new else [])) == before

    @step(
        caller=st.sampled_from(["payments", "deals", "chat", "operator", "accounts"]),
        batch=MIXED,
        gift=st.booleans(),
    )
    def a_caller_oversteps(self, caller: str, batch: list[Draft], gift: bool) -> None:
        """One kind that is not the caller's forbids the whole batch."""
        operations = [self.operation(draft) for draft in batch]
        foreign = [k for k in SIDES if k not in KINDS.get(caller, [])]
        operations[-1]["kind"] = "gift" if gift else foreign[0]
        before = self.run(self.digest())
        answer = self.run(self._internal(caller, "/operations", {"operations": operations}))
        code = "kind_forbidden" if caller in KINDS else "forbidden"
        assert (answer.status_code, answer.json()["code"]) == (403, code)
        assert self.run(self.digest()) == before

    @step(
        draft=drafts("deposit", sound=True),
        amount=st.sampled_from(["1.5", "", "1e3", "+1", " 1", "9" * 32, "٣", 1, 1.5, None, "-"]),
    )
    def an_amount_is_not_whole(self, draft: Draft, amount: object) -> None:
        """What is no operation at all is 422, and its neighbours are not posted."""
        sound, broken = self.operation(draft), self.operation(draft)
        broken["legs"] = [broken["legs"][0], broken["legs"][1] | {"amount": amount}]
        before = self.run(self.digest())
        answer = self.run(self._internal("payments", "/operations", {"operations": [sound, broken]}))
        assert answer.status_code == 422
        assert self.run(self.digest()) == before

    def post(self, caller: str, operations: list[dict[str, Any]]) -> None:
        """Post over HTTP and compare the outcomes."""

        async def send() -> list[Told]:
            answer = await self._internal(caller, "/operations", {"operations": operations})
            assert answer.status_code == 200, answer.text
            return [(r["key"], r["outcome"], r["reason"]) for r in answer.json()["results"]]

        self.watch(operations, send)

    def watch(
        self,
        operations: list[dict[str, Any]],
        send: Callable[[], Coroutine[Any, Any, list[Told]]],
    ) -> None:
        """Send, compare each outcome, and see that what is not applied changed nothing."""
        before, known = self.run(self.digest()), set(self.model.stored)
        verdicts = self.model.post(operations)
        answers = self.run(send())
        for operation, verdict, answer in zip(operations, verdicts, answers, strict=True):
            check(operation["key"], verdict, answer)
        new = sorted(set(self.model.stored) - known)
        if all(self.model.stored[key].outcome == "rejected" for key in new):
            assert self.run(self.digest(new)) == before
        self.sent += [o for o in operations if o["key"] in self.model.stored and body_fits(self.model, o)]

    async def digest(self, without: Sequence[str] = ()) -> Digest:
        """Digest the ledger, leaving out accounts that never moved and the operations of these keys."""
        left_out = ", ".join(f"'{key}'" for key in ["", *without])
        tables = {"account": "t.seq > 0", "adjustment": "true", "outbox": "true", "app_user": "true"}
        return await self.ground.digest("accounts", tables | {"operation": f"t.key NOT IN ({left_out})"})

    async def _internal(self, caller: str, path: str, json: object) -> httpx.Response:
        async with self.ground.house.internal(caller) as client:
            return await client.post(f"/internal/v1{path}", json=json)

    @invariant()
    def agree(self) -> None:
        """Balances are the model's, and so is the statement of each user who moved."""
        self.run(self._compare())
        self.agreed()

    async def _compare(self) -> None:
        deals = [f"deal:{self.number * 10 + n + 1}" for n in range(DEALS)]
        for tenant in self.tenants:
            owners = [f"user:{user}" for user in self.users] + deals
            found = await find_balances(self.ground.house.accounts_db, tenant, owners)
            expected = {
                account: self.model.balance(account)
                for account, home in self.model.homes.items()
                if home == tenant and self.model.balance(account)
            }
            assert {account: balance for account, balance in found.items() if balance} == expected
        for i, user in enumerate(self.users):
            lines = self.model.statements.get((f"user:{user}", "USDT"), [])
            if len(lines) != self.looked.get(user, 0):
                assert await self._statement(i, limit=200) == newest_first(lines)
                self.looked[user] = len(lines)

    async def _statement(self, user: int, limit: int) -> list[tuple[int, Line]]:
        house, found, cursor = self.ground.house, list[tuple[int, Line]](), ""
        async with house.client("accounts", self.names[user // 2]) as client:
            for _ in range(200):
                path = f"/api/v1/user/{self.users[user]}/adjustments?limit={limit}{cursor}"
                page = (await client.get(path)).json()
                found += [(item["seq"], _line(item)) for item in page["items"]]
                if page["next_cursor"] is None:
                    return found
                cursor = f"&cursor={page['next_cursor']}"
        raise AssertionError("the statement does not end")

    async def finish(self) -> None:
        """Read everything once more: by small pages, by the other tenant, in the outbox, and by the ledger's own proof."""
        house = self.ground.house
        for i, user in enumerate(self.users):
            lines = self.model.statements.get((f"user:{user}", "USDT"), [])
            assert await self._statement(i, limit=2) == newest_first(lines)
            shown = await house.balance(user, self.names[i // 2])
            assert units(shown) == self.model.balance((f"user:{user}", "USDT"))
            for what in ("", "/balance", "/adjustments"):
                foreign = await house.call("accounts", "GET", f"/user/{user}{what}", key=self.names[1 - i // 2])
                assert foreign.status_code == 404
        assert await self._told() == self.model.told
        proof = await check_invariants(house.accounts_db)
        assert proof["ok"], proof

    async def _told(self) -> list[tuple[int, str, int, Line]]:
        rows = await self.ground.looks["accounts"].fetch(
            "SELECT envelope FROM outbox WHERE subject LIKE 'balance.%'"
            " AND (envelope->>'tenant_id')::bigint = ANY($1) ORDER BY id",
            self.tenants,
        )
        return [_fact(orjson.loads(row[0])) for row in rows]


def check(key: str, verdict: Verdict, answer: Told) -> None:
    """Compare an outcome; from now on a stored one has this reason for ever."""
    assert answer[:2] == (key, verdict.outcome)
    if verdict.reasons:
        assert answer[2] in verdict.reasons
        verdict.reasons.intersection_update({answer[2]})


def body_fits(model: LedgerModel, operation: dict[str, Any]) -> bool:
    """Tell whether this is the operation that its key stands for."""
    return model.stored[operation["key"]].body == body(operation)


def newest_first(lines: list[Line]) -> list[tuple[int, Line]]:
    """Return the statement as it is shown."""
    return list(enumerate(lines, 1))[::-1]


def units(text: str) -> int:
    """Read USDT as they are shown: six decimals, always."""
    whole, _, fraction = text.partition(".")
    assert len(fraction) == 6
    return int(whole + fraction)


def _line(item: dict[str, Any]) -> Line:
    return Line(units(item["amount"]), units(item["balance_after"]), item["kind"], item["operation_key"])


def _fact(envelope: dict[str, Any]) -> tuple[int, str, int, Line]:
    data = envelope["data"]
    sign = {"balance.credited": 1, "balance.debited": -1}[envelope["type"]]
    line = Line(sign * int(data["amount_units"]), int(data["balance_units"]), data["kind"], data["operation_key"])
    return envelope["tenant_id"], f"user:{data['user_id']}", envelope["aggregate_version"], line


def _domain(operation: dict[str, Any]) -> Operation:
    legs = tuple(Leg(leg["owner"], int(leg["amount"])) for leg in operation["legs"])
    return Operation(operation["key"], operation["kind"], operation["tenant_id"], operation["currency"], legs)


@sizes(small=Size(10, 20), deep=Size(400, 50))
def test_the_ledger_and_a_dictionary_never_differ(migrated: Databases, size: Size) -> None:
    play(LedgerMachine, migrated, size)
