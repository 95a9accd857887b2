"""The signer's limits, and how an intent travels, without IO."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter

from payments.adapters.remote_signer import written
from payments.api.intents import SignIn
from payments.domain.errors import LimitReached, SignerRefused
from payments.domain.intents import NATIVE, Collect, Delegate, DepositKey, Fuel, Intent, Payout, Reclaim, Stake
from payments.domain.limits import (
    AHEAD,
    Limits,
    check_reference,
    check_same,
    check_spent,
    check_tries,
    fees,
    paid_out,
)
from payments.domain.model import Header, SignedPayout
from payments.settings import USDT_MAINNET as USDT

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LIMITS = Limits(timedelta(minutes=15), 1000, {USDT: 100, NATIVE: 7}, {USDT: 250}, 3)
WALLET = DepositKey(7, "TB8hS63CKx92bKwaHkoUChNxoazzS3SFYs")
BIG = 10**29
INTENTS: list[Intent] = [
    Collect(WALLET, USDT, BIG, 30),
    Fuel(WALLET, 5),
    Delegate(WALLET, 6),
    Reclaim(WALLET, 7),
    Payout(2**62, USDT, WALLET.address, BIG, 9),
    Stake(8),
]


def block(time: datetime, height: int = 9) -> Header:
    return Header(height, f"{height:016x}" + "ab" * 24, "00" * 32, time, True)


@pytest.mark.parametrize("intent", INTENTS)
def test_an_intent_arrives_as_it_was_sent(intent: Intent) -> None:
    body = {
        "intent": written(intent),
        "reference": {"height": 9, "hash": block(NOW).hash, "time_ms": 1_700_000_000_123},
        "timestamp_ms": 1,
    }

    arrived = TypeAdapter(SignIn).validate_python(body)

    assert arrived.intent.to_domain() == intent
    assert arrived.reference.to_domain().time == datetime.fromtimestamp(1_700_000_000.123, UTC)


def test_a_block_that_is_not_of_our_time_is_refused() -> None:
    for time in (NOW, NOW - timedelta(minutes=15), NOW + AHEAD):
        check_reference(block(time), NOW, LIMITS)
    for time in (NOW - timedelta(minutes=15, milliseconds=1), NOW + AHEAD + timedelta(milliseconds=1)):
        with pytest.raises(SignerRefused, match="SIGNER_REFERENCE_AGE_S"):
            check_reference(block(time), NOW, LIMITS)
    with pytest.raises(SignerRefused, match="height"):
        check_reference(replace(block(NOW), height=10), NOW, LIMITS)


def test_fuel_and_the_fees_of_payouts_count_for_the_clock_hour() -> None:
    hour = NOW.replace(minute=0, second=0)
    counted = [fees(intent, NOW, LIMITS) for intent in INTENTS]

    assert [c.amount if c else None for c in counted] == [None, 5, None, None, 9, None]
    assert {c.begins_at for c in counted if c} == {hour}
    assert fees(Payout(1, NATIVE, WALLET.address, 5, 0), NOW, LIMITS) is None


def test_payouts_count_for_the_day_and_the_asset() -> None:
    spending = paid_out(Payout(1, USDT, WALLET.address, 100, 9), NOW, LIMITS)

    assert (spending.name, spending.begins_at.hour, spending.amount) == (f"payout:{USDT}", 0, 100)
    check_spent(spending, 250)
    with pytest.raises(LimitReached, match="SIGNER_PAYOUT_PER_DAY"):
        check_spent(spending, 251)
    with pytest.raises(LimitReached, match="SIGNER_PAYOUT_MOST"):
        paid_out(Payout(1, USDT, WALLET.address, 101, 9), NOW, LIMITS)
    with pytest.raises(LimitReached, match="SIGNER_PAYOUT_MOST"):
        paid_out(Payout(1, WALLET.address, WALLET.address, 1, 9), NOW, LIMITS)
    with pytest.raises(LimitReached, match="SIGNER_PAYOUT_PER_DAY"):  # an asset without a day's limit has none
        check_spent(paid_out(Payout(1, NATIVE, WALLET.address, 7, 0), NOW, LIMITS), 7)


def test_a_withdrawal_stays_what_it_was_first() -> None:
    first = Payout(1, USDT, WALLET.address, 100, 9)
    known = SignedPayout(USDT, WALLET.address, 100, 3, None)

    check_same(replace(first, fee_limit=8), known)
    for other in (replace(first, amount=99), replace(first, asset=NATIVE), replace(first, to=USDT)):
        with pytest.raises(SignerRefused, match="withdrawal 1"):
            check_same(other, known)
    check_tries(first, replace(known, tries=2), LIMITS)
    with pytest.raises(LimitReached, match="SIGNER_PAYOUT_TRIES"):
        check_tries(first, known, LIMITS)
