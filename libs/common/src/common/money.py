"""Money: whole smallest units inside, decimal strings at the edges, and no binary float between them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Rounded
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

MAX_UNITS = 10**30
"""Amounts stay below this many smallest units, well inside NUMERIC(38, 0)."""

_EXACT = Context(prec=200, traps=[Inexact, Rounded, Overflow, InvalidOperation])
"""The default context would round to 28 digits without a word."""

_CODE = re.compile(r"[A-Z][A-Z0-9]{1,11}")
_DECIMAL = re.compile(r"[0-9]{1,31}(\.[0-9]{1,31})?")


class AmountError(ValueError):
    """An amount that is not a positive finite number with the currency's decimals; the text says why."""


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency: its code and how many decimals its smallest unit has."""

    code: str
    decimals: int

    def to_units(self, amount: Decimal) -> int:
        """Turn `amount` into whole smallest units; nothing is rounded.

        Raises:
            AmountError: when `amount` has more decimals than the currency or is too large.
        """
        scaled = amount.scaleb(self.decimals, _EXACT)
        if scaled >= MAX_UNITS:
            raise AmountError("the amount is too large")
        units = int(scaled)
        if units != scaled:
            raise AmountError(f"{self.code} has {self.decimals} decimals, the amount has more")
        return units

    def to_text(self, units: int) -> str:
        """Write whole smallest units as a decimal string, for example `"12.500000"`."""
        sign, digits = "-" if units < 0 else "", str(abs(units)).rjust(self.decimals + 1, "0")
        if self.decimals == 0:
            return sign + digits
        return f"{sign}{digits[: -self.decimals]}.{digits[-self.decimals :]}"


class Currencies:
    """The configured currencies, in order."""

    def __init__(self, *currencies: Currency) -> None:
        self._by_code = {currency.code: currency for currency in currencies}

    @classmethod
    def parse(cls, text: str) -> "Currencies":
        """Read a setting such as `USDT:6,TRX:6`.

        Raises:
            ValueError: when the text has another form or names no currency.
        """
        found = []
        for part in text.split(","):
            code, _, decimals = part.strip().partition(":")
            if not _CODE.fullmatch(code) or not decimals.isdecimal() or int(decimals) > 18:
                raise ValueError(f"{part!r} is not CODE:DECIMALS, as in USDT:6")
            found.append(Currency(code, int(decimals)))
        return cls(*found)

    def get(self, code: str) -> Currency | None:
        """Return the currency with this code, or None."""
        return self._by_code.get(code)

    def __iter__(self) -> Iterator[Currency]:
        return iter(self._by_code.values())


def _exact(value: Any) -> Decimal:
    """Accept a JSON string or number as it was written; floats never get here (see `common.web`)."""
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            raise AmountError('write the amount as digits with an optional fraction, "12.50"')
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise AmountError("the amount must be a string or a number")
    try:
        exact = Decimal(value)
    except (InvalidOperation, ValueError) as error:
        raise AmountError("the amount is not a number") from error
    if not exact.is_finite() or abs(exact.adjusted()) > 60:
        raise AmountError("the amount is out of range")
    return exact


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise AmountError("the amount must be greater than zero")
    return value


Amount = Annotated[
    Decimal,
    BeforeValidator(_exact),
    AfterValidator(_positive),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]{1,31}(\.[0-9]{1,31})?$"},
                {"type": "number", "exclusiveMinimum": 0},
            ],
            "examples": ["12.50"],
        }
    ),
]
"""A positive amount from JSON, exact, in whole units of the currency (not the smallest ones)."""
