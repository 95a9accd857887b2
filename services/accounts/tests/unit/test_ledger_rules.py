"""The ledger's rules, without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.domain.ledger import Account, Leg, Operation, Outcome, Stored, decide

ALICE = Account(1, 1, "user:1", "USDT", 100, 3)
BOB = Account(2, 1, "user:2", "USDT", 0, 0)
DEAL = Account(3, 1, "deal:7", "USDT", 0, 0)
EXTERNAL = Account(4, 1, "external:tron_usdt", "USDT", 0, 0)
ACCOUNTS = {(a.tenant_id, a.owner, a.currency): a for a in (ALICE, BOB, DEAL, EXTERNAL)}


def operation(
    key: str, kind: str, giver: str, taker: str, amount: int, *, tenant: int = 1, currency: str = "USDT"
) -> Operation:
    return Operation(key, kind, tenant, currency, (Leg(giver, -amount), Leg(taker, amount)))


def hold(key: str, amount: int, deal: str = "deal:7") -> Operation:
    return operation(key, "hold", "user:1", deal, amount)


def test_a_hold_moves_the_money_and_counts_both_accounts() -> None:
    decision = decide([hold("h", 60)], ACCOUNTS, {})

    assert [(r.outcome, r.reason) for r in decision.results] == [(Outcome.APPLIED, None)]
    assert [(e.account.owner, e.amount, e.seq, e.balance_after) for e in decision.entries] == [
        ("user:1", -60, 4, 40),
        ("deal:7", 60, 1, 60),
    ]


def test_a_hold_above_the_balance_is_rejected_and_leaves_its_neighbours_alone() -> None:
    decision = decide([hold("too-much", 101), hold("fits", 100)], ACCOUNTS, {})

    assert [(r.key, r.outcome, r.reason) for r in decision.results] == [
        ("too-much", Outcome.REJECTED, "insufficient_funds"),
        ("fits", Outcome.APPLIED, None),
    ]


def test_a_second_hold_of_a_deal_is_rejected() -> None:
    decision = decide([hold("one", 10), hold("two", 10)], ACCOUNTS, {})

    assert [(r.outcome, r.reason) for r in decision.results] == [
        (Outcome.APPLIED, None),
        (Outcome.REJECTED, "already_held"),
    ]


@pytest.mark.parametrize("amount", [59, 61])
def test_a_deal_is_emptied_whole_or_not_at_all(amount: int) -> None:
    release = operation("r", "release", "deal:7", "user:2", amount)

    decision = decide([hold("h", 60), release], ACCOUNTS, {})

    assert (decision.results[1].outcome, decision.results[1].reason) == (Outcome.REJECTED, "not_held")


def test_a_release_beside_a_refund_pays_once() -> None:
    release = operation("r", "release", "deal:7", "user:2", 60)
    refund = operation("f", "refund", "deal:7", "user:1", 60)

    decision = decide([hold("h", 60), release, refund], ACCOUNTS, {})

    assert [r.outcome for r in decision.results] == [Outcome.APPLIED, Outcome.APPLIED, Outcome.REJECTED]


def test_the_stored_outcome_is_answered_for_ever() -> None:
    op = hold("h", 60)
    stored = {"h": Stored(op.fingerprint(), Outcome.REJECTED, "insufficient_funds")}

    decision = decide([op], ACCOUNTS, stored)

    assert decision.results[0].outcome is Outcome.REJECTED
    assert not decision.fresh


def test_the_same_key_with_another_body_is_a_mismatch_and_stores_nothing() -> None:
    stored = {"h": Stored(hold("h", 60).fingerprint(), Outcome.APPLIED, None)}

    decision = decide([hold("h", 61)], ACCOUNTS, stored)

    assert decision.results[0].outcome is Outcome.MISMATCH
    assert not decision.fresh


def test_a_key_twice_in_one_batch_is_applied_once() -> None:
    decision = decide([hold("h", 60), hold("h", 60), hold("h", 61)], ACCOUNTS, {})

    outcomes = [r.outcome for r in decision.results]
    assert outcomes == [Outcome.APPLIED, Outcome.APPLIED, Outcome.MISMATCH]
    assert len(decision.fresh) == 1


def test_a_voided_key_answers_voided_whatever_the_body() -> None:
    decision = decide([hold("h", 60)], ACCOUNTS, {"h": Stored(b"", Outcome.VOIDED, None)})

    assert decision.results[0].outcome is Outcome.VOIDED


@pytest.mark.parametrize(
    ("op", "flaw"),
    [
        (hold("", 1), "key"),
        (hold("k" * 201, 1), "key"),
        (hold("key with spaces", 1), "key"),
        (operation("k", "gift", "user:1", "user:2", 1), "kind"),
        (operation("k", "hold", "user:1", "deal:7", 1, currency="US\x00DT"), "currency"),
        (operation("k", "hold", "user:1", "deal:7", 1, currency=""), "currency"),
        (operation("k", "hold", "user:1", "deal:7", 1, currency="usdt"), "currency"),
        (operation("k", "hold", "user:1", "user:2", 1), "pattern"),
        (operation("k", "release", "user:1", "deal:7", 1), "pattern"),
        (operation("k", "deposit", "user:1", "external:x", 1), "pattern"),
        (operation("k", "hold", "user:0", "deal:7", 1), "owner"),
        (operation("k", "hold", "user:9223372036854775808", "deal:7", 1), "owner"),
        (operation("k", "hold", "user:1", "deal:7", 0), "amount"),
        (operation("k", "hold", "user:1", "deal:7", 10**30), "amount"),
        (Operation("k", "hold", 1, "USDT", (Leg("user:1", -2), Leg("deal:7", 1))), "unbalanced"),
        (Operation("k", "hold", 1, "USDT", (Leg("user:1", -2),)), "legs"),
    ],
)
def test_a_malformed_operation_is_invalid_and_never_stored(op: Operation, flaw: str) -> None:
    decision = decide([op], ACCOUNTS, {})

    assert (decision.results[0].outcome, decision.results[0].reason) == (Outcome.INVALID, flaw)
    assert not decision.fresh


@pytest.mark.parametrize("neighbours", [[], [hold("h", 60)]])
@pytest.mark.parametrize("stored", [{}, {"h": Stored(b"", Outcome.VOIDED, None)}])
def test_a_malformed_operation_is_invalid_whatever_its_key_says(
    neighbours: list[Operation], stored: dict[str, Stored]
) -> None:
    decision = decide([*neighbours, hold("h", 0)], ACCOUNTS, stored)

    assert decision.results[-1].outcome is Outcome.INVALID


@pytest.mark.parametrize(
    "op",
    [
        operation("k", "hold", "user:99", "deal:7", 1),
        operation("k", "hold", "user:1", "deal:7", 1, tenant=2),
        operation("k", "hold", "user:1", "deal:7", 1, currency="TRX"),
    ],
)
def test_an_account_of_another_tenant_or_currency_is_unknown(op: Operation) -> None:
    assert decide([op], ACCOUNTS, {}).results[0].reason == "unknown_account"


@given(st.lists(st.tuples(st.sampled_from(["hold", "release", "refund", "deposit"]), st.integers(1, 120))))
def test_no_batch_makes_or_loses_money_or_overdraws(steps: list[tuple[str, int]]) -> None:
    sides = {
        "hold": ("user:1", "deal:7"),
        "release": ("deal:7", "user:2"),
        "refund": ("deal:7", "user:1"),
        "deposit": ("external:tron_usdt", "user:1"),
    }
    batch = [operation(f"k{i}", kind, *sides[kind], amount) for i, (kind, amount) in enumerate(steps)]

    decision = decide(batch, ACCOUNTS, {})

    by_key: dict[str, int] = {}
    for entry in decision.entries:
        by_key[entry.key] = by_key.get(entry.key, 0) + entry.amount
        assert entry.balance_after is None or entry.balance_after >= 0
    assert set(by_key.values()) <= {0}
    applied = [r.key for r in decision.results if r.outcome is Outcome.APPLIED]
    assert sorted(applied) == sorted(by_key)
