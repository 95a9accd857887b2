"""What an arrival is called, and what a sweep does next: tables, and laws that hold whatever the chain says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.domain.intents import NATIVE, Collect, Delegate, DepositKey, Fuel
from payments.domain.model import Arrival, Facts, Payment, PaymentStatus, Prices
from payments.domain.rules import ENOUGH_PERCENT, FUEL_BYTES, LOAN_BYTES, SUN, TooDear, arrival, next_intent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
WALLET = DepositKey(3, "TB8hS63CKx92bKwaHkoUChNxoazzS3SFYs")
TOKEN = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
PRICES = Prices(energy=100, byte=1000, activation=1_100_000)
FACTS = Facts(
    energy=70_000,
    size=350,
    energy_at_hand=0,
    has_bandwidth=True,
    sun=0,
    activated=True,
    lendable_sun=0,
    energy_per_trx=Fraction(180, 19),
    prices=PRICES,
)
CAP = 30 * SUN
WAITING, SUCCESS, EXPIRED = PaymentStatus.WAITING, PaymentStatus.SUCCESS, PaymentStatus.EXPIRED


def payment(status: PaymentStatus = WAITING, received: int = 0) -> Payment:
    return Payment(
        id=1,
        tenant_id=1,
        user_id=1,
        gateway_id="tron_usdt",
        wallet_id=1,
        address=WALLET.address,
        currency="USDT",
        amount=100,
        received=received,
        status=status,
        version=1,
        created_at=NOW - timedelta(hours=1),
        updated_at=NOW,
        expires_at=NOW,
        network="tron",
    )


@pytest.mark.parametrize(
    ("asked", "currency", "amount", "at", "name"),
    [
        (None, "USDT", 100, NOW, "unasked"),
        (payment(), "USDT", 100, NOW, "exact"),
        (payment(), "USDT", 99, NOW, "under"),
        (payment(), "USDT", 101, NOW, "over"),
        (payment(received=60), "USDT", 40, NOW, "exact"),
        (payment(received=60), "USDT", 39, NOW, "under"),
        (payment(received=60), "USDT", 100, NOW, "over"),
        (payment(), "USDT", 100, LATER, "late"),
        (payment(EXPIRED), "USDT", 100, NOW, "late"),
        (payment(EXPIRED, received=100), "USDT", 1, LATER, "late"),
        (payment(received=100), "USDT", 1, NOW, "extra"),
        (payment(received=130), "USDT", 100, NOW, "extra"),
        (payment(SUCCESS, received=100), "USDT", 100, NOW, "extra"),
        (payment(SUCCESS, received=100), "USDT", 100, LATER, "late"),
        (payment(), "TRX", 100, NOW, "other_currency"),
        (payment(EXPIRED), "TRX", 100, LATER, "other_currency"),
        (payment(SUCCESS, received=100), "TRX", 100, NOW, "other_currency"),
    ],
)
def test_an_arrival_has_a_name(
    asked: Payment | None, currency: str, amount: int, at: datetime, name: Arrival
) -> None:
    assert arrival(asked, currency, amount, at) == name


def test_one_unit_to_a_waiting_payment_is_under_or_exact() -> None:
    assert {arrival(payment(received=n), "USDT", 1, NOW) for n in range(100)} == {"under", "exact"}


@pytest.mark.parametrize(
    ("change", "ours", "intent"),
    [
        # Energy at hand.
        ({"energy_at_hand": 70_000}, 0, Collect(WALLET, TOKEN, 5, 7_000_000)),
        ({"energy_at_hand": 70_000, "has_bandwidth": False}, 0, Fuel(WALLET, 350_000)),
        ({"energy_at_hand": 70_000, "activated": False}, 0, Fuel(WALLET, 1)),
        # Lent energy; a stake is lent from one TRX on.
        ({"lendable_sun": 10**12}, 0, Delegate(WALLET, 7_388_888_889)),
        ({"lendable_sun": 7_388_888_889}, 0, Delegate(WALLET, 7_388_888_889)),
        ({"lendable_sun": 7_388_888_888}, 0, Fuel(WALLET, 7_000_000)),
        ({"lendable_sun": 10**12, "energy_at_hand": 67_900}, 0, Collect(WALLET, TOKEN, 5, 7_000_000)),
        ({"lendable_sun": 10**12, "energy_at_hand": 67_899}, 0, Delegate(WALLET, 221_772_223)),
        ({"lendable_sun": 10**12, "activated": False}, 0, Fuel(WALLET, 1)),
        ({"lendable_sun": 10**12, "energy_per_trx": Fraction(0)}, 0, Fuel(WALLET, 7_000_000)),
        # Burned TRX.
        ({}, 0, Fuel(WALLET, 7_000_000)),
        ({"activated": False}, 0, Fuel(WALLET, 7_000_000)),
        ({"sun": 3_000_000}, 3_000_000, Fuel(WALLET, 4_000_000)),
        ({"sun": 7_000_000}, 7_000_000, Collect(WALLET, TOKEN, 5, 7_000_000)),
        # The user's TRX burns for nobody, and books that claim more than there is are not believed.
        ({"sun": 50_000_000}, 0, Fuel(WALLET, 7_000_000)),
        ({"sun": 50_000_000}, -3, Fuel(WALLET, 7_000_000)),
        ({"sun": 6_000_000}, 7_000_000, Fuel(WALLET, 1_000_000)),
    ],
)
def test_the_ladder_of_a_token(change: dict[str, int], ours: int, intent: object) -> None:
    facts = replace(FACTS, **change)  # type: ignore[arg-type]  # the table holds each field's own type
    assert next_intent(WALLET, TOKEN, 5, facts, CAP, ours) == intent


@pytest.mark.parametrize(
    ("bandwidth", "sun", "ours", "intent"),
    [
        (True, 20 * SUN, 0, Collect(WALLET, NATIVE, 20 * SUN, 0)),
        (False, 20 * SUN, 0, Fuel(WALLET, 270_000)),
        (False, 20 * SUN + 270_000, 270_000, Collect(WALLET, NATIVE, 20 * SUN, 0)),
        (False, 20 * SUN, 270_000, Fuel(WALLET, 270_000)),
    ],
)
def test_the_ladder_of_trx(bandwidth: bool, sun: int, ours: int, intent: object) -> None:
    facts = replace(FACTS, energy=0, size=270, has_bandwidth=bandwidth, sun=sun)
    assert next_intent(WALLET, NATIVE, 20 * SUN, facts, CAP, ours) == intent


@pytest.mark.parametrize(
    ("change", "cost"),
    [
        ({}, 7_000_000 + FUEL_BYTES * 1000),
        ({"sun": 7_000_000}, 7_000_000),
        ({"activated": False}, 7_000_000 + 1_100_000 + FUEL_BYTES * 1000),
        ({"energy_at_hand": 70_000}, 0),
        ({"lendable_sun": 10**12}, 2 * LOAN_BYTES * 1000),
    ],
)
def test_what_costs_more_than_the_cap_is_too_dear(change: dict[str, int], cost: int) -> None:
    facts = replace(FACTS, **change)  # type: ignore[arg-type]  # the table holds each field's own type
    next_intent(WALLET, TOKEN, 5, facts, cost, facts.sun)
    with pytest.raises(TooDear, match=f"{cost} sun are needed and {cost - 1} may be spent"):
        next_intent(WALLET, TOKEN, 5, facts, cost - 1, facts.sun)


any_facts = st.builds(
    Facts,
    energy=st.integers(0, 300_000),
    size=st.sampled_from([270, 350]),
    energy_at_hand=st.integers(0, 300_000),
    has_bandwidth=st.booleans(),
    sun=st.integers(0, 100 * SUN),
    activated=st.booleans(),
    lendable_sun=st.integers(0, 10**12),
    energy_per_trx=st.fractions(0, 100),
    prices=st.builds(
        Prices, energy=st.integers(1, 1000), byte=st.integers(0, 2000), activation=st.just(1_100_000)
    ),
)


@given(any_facts, st.integers(0, 100 * SUN), st.integers(0, 200 * SUN), st.booleans())
def test_a_climbed_ladder_ends_in_a_transfer_that_burns_ours_alone_within_the_cap(
    facts: Facts, ours: int, cap: int, native: bool
) -> None:
    if not facts.activated:
        facts = replace(facts, sun=0)
    asset, amount = TOKEN, 5
    if native:
        asset, amount, facts = NATIVE, facts.sun // 2 + 1, replace(facts, energy=0)
    ours, spent, reclaim = min(ours, facts.sun), 0, 0
    users = facts.sun - ours
    if native and amount > users:
        return
    for _ in range(4):
        try:
            intent = next_intent(WALLET, asset, amount, facts, cap - spent - reclaim, ours)
        except TooDear:
            break
        match intent:
            case Fuel(_, sun):
                assert sun > 0
                spent += FUEL_BYTES * facts.prices.byte + (0 if facts.activated else facts.prices.activation)
                fresh = facts.has_bandwidth or not facts.activated
                facts = replace(facts, sun=facts.sun + sun, activated=True, has_bandwidth=fresh)
                ours += sun
            case Delegate(_, sun):
                assert SUN <= sun <= facts.lendable_sun
                spent += LOAN_BYTES * facts.prices.byte
                reclaim = LOAN_BYTES * facts.prices.byte
                at_hand = facts.energy_at_hand + sun * facts.energy_per_trx // SUN
                facts = replace(facts, energy_at_hand=at_hand, lendable_sun=facts.lendable_sun - sun)
            case Collect():
                bytes_sun = 0 if facts.has_bandwidth else facts.size * facts.prices.byte
                # The estimate has a margin: the transfer takes this much of it at most.
                taken = facts.energy * ENOUGH_PERCENT // 100
                missing = max(0, taken - facts.energy_at_hand)
                burned = bytes_sun + missing * facts.prices.energy
                assert burned <= ours
                spent += burned
                break
    else:
        raise AssertionError("the ladder has no end")
    assert spent + reclaim <= cap
