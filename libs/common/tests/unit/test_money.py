"""Money is exact from the wire to the smallest unit and back."""

import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from common.errors import InvalidInput
from common.exact import parse_json
from common.money import MAX_UNITS, Amount, AmountError, Currencies, Currency

USDT = Currency("USDT", 6)


class Priced(BaseModel):
    """A body with an amount."""

    amount: Amount


def read(text: str) -> Decimal:
    return Priced.model_validate(parse_json(text.encode())).amount


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ('{"amount": "12.5"}', 12_500_000),
        ('{"amount": 12.5}', 12_500_000),
        ('{"amount": 12}', 12_000_000),
        ('{"amount": 0.1}', 100_000),
        ('{"amount": 0.000001}', 1),
        ('{"amount": 1e2}', 100_000_000),
        ('{"amount": 9007199254740993.000001}', 9_007_199_254_740_993_000_001),
        ('{"amount": "1.000000000"}', 1_000_000),
    ],
)
def test_amounts_are_read_as_they_were_written(text: str, units: int) -> None:
    assert USDT.to_units(read(text)) == units


@pytest.mark.parametrize(
    "written",
    [
        "0", "-1", '"0"', '"-1"', '"+1"', '"1e3"', '" 1"', '"1 "', '""', '"."', '"1."', '".1"', '"1,5"', '"١"',
        '"0x1"', '"1_000"', "true", "false", "null", "[]", "{}", '"NaN"', '"Infinity"', "1e400", "1e-400",
        '"' + "9" * 32 + '"',
    ],
)  # fmt: skip
def test_what_is_no_positive_amount_is_refused(written: str) -> None:
    with pytest.raises((ValidationError, InvalidInput)):
        read(f'{{"amount": {written}}}')


@pytest.mark.parametrize(
    "body", ["NaN", "Infinity", "-Infinity", "{", "", "[" * 100_000, "1" * 5000, '{"a":' * 2000]
)
@pytest.mark.parametrize("limit", [1_000, 1_000_000])
def test_what_is_no_json_is_refused(body: str, limit: int) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)  # a library may raise it; the process must not depend on it
    try:
        with pytest.raises(InvalidInput):
            parse_json(body.encode())
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("amount", ["0.0000001", "1.23456789"])
def test_more_decimals_than_the_currency_has_are_refused(amount: str) -> None:
    with pytest.raises(AmountError, match="USDT has 6 decimals"):
        USDT.to_units(Decimal(amount))


def test_an_amount_beyond_the_ledger_is_refused() -> None:
    with pytest.raises(AmountError, match="too large"):
        USDT.to_units(Decimal(10) ** 24)


@given(st.integers(1, MAX_UNITS - 1), st.integers(0, 18))
def test_text_and_units_are_two_ways_to_say_the_same(units: int, decimals: int) -> None:
    currency = Currency("XYZ", decimals)

    assert currency.to_units(Decimal(currency.to_text(units))) == units


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [
        (0, 6, "0.000000"),
        (1, 6, "0.000001"),
        (-1_500_000, 6, "-1.500000"),
        (5, 0, "5"),
        (12_500_000, 6, "12.500000"),
    ],
)
def test_amounts_are_written_with_all_decimals(units: int, decimals: int, text: str) -> None:
    assert Currency("XYZ", decimals).to_text(units) == text


@pytest.mark.parametrize("setting", ["", "USDT", "usdt:6", "USDT:x", "USDT:19", "USDT:6,"])
def test_a_broken_list_of_currencies_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="CODE:DECIMALS"):
        Currencies.parse(setting)


def test_currencies_keep_their_order() -> None:
    found: Any = [c.code for c in Currencies.parse("USDT:6, TRX:6")]
    assert found == ["USDT", "TRX"]
