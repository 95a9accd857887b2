"""JSON as it was written: numbers are int or Decimal, never binary floats."""

import json
from decimal import Decimal
from typing import Any

import orjson

from common.errors import InvalidInput


def parse_json(body: bytes) -> Any:
    """Read JSON exactly.

    Raises:
        InvalidInput: when it is malformed, too deep, holds a number too long, or NaN or Infinity.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        # orjson bounds the depth by itself. The standard parser's bound is the interpreter's recursion limit,
        # which an import may raise (py-evm does) until a nested body overflows the C stack.
        orjson.loads(body)
        return json.loads(body, parse_float=Decimal, parse_constant=refuse)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from error
