"""What an endpoint sees of the chain, and how it reads a request's body: java-tron's conventions, in one place."""

from collections.abc import Callable
from typing import Any

from tron_sandbox.chain import Block, Chain
from tron_sandbox.jsonformat import Json, ProtocolError

Answer = Json | list[Any]
"""What is sent as JSON; parts of it may be JSON already (`orjson.Fragment`)."""
Endpoint = Callable[["View", Json], Answer]


class View:
    """The chain as one of the two APIs shows it: the head (`wallet`) or what is solid (`walletsolidity`)."""

    def __init__(self, chain: Chain, *, solid: bool) -> None:
        self.chain = chain
        self.solid = solid

    @property
    def top(self) -> Block:
        """The newest block that this API shows."""
        number = self.chain.solid_number if self.solid else self.chain.head.number
        return self.chain.blocks[number]

    def block(self, number: int) -> Block | None:
        """Return a block that this API shows."""
        return self.chain.block(number, solid=self.solid)


STALE_BLOCKS = 50


class StaleView(View):
    """A node that stopped to follow the chain some blocks ago."""

    @property
    def top(self) -> Block:
        """The newest block that it has."""
        return self.chain.blocks[max(0, super().top.number - STALE_BLOCKS)]

    def block(self, number: int) -> Block | None:
        """Return a block that it has."""
        return super().block(number) if number <= self.top.number else None


def fault(name: str, text: str) -> Json:
    """Return what java-tron answers, with status 200, when a servlet throws."""
    return {"Error": f"class {name} : {text}"}


def visible_of(body: Json) -> bool:
    """Tell whether addresses are wanted in base58, and messages as text."""
    return body.get("visible") in (True, "true")


def whole(value: Any) -> int:
    """Read a whole number, which a query holds as text.

    Raises:
        ProtocolError: with java-tron's text, when it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ProtocolError("INVALID num")
    try:
        return int(value)
    except ValueError as error:
        raise ProtocolError(f'For input string: "{str(value)[:64]}"') from error


def message_of(text: str, *, visible: bool) -> str:
    """Write a message: hex, or as it is where `visible` is asked for."""
    return text if visible else text.encode().hex()


def txid_of(body: Json) -> bytes:
    """Read the id in `value`; what is no hex is nobody's id."""
    value = body.get("value")
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""


def without_zeros(found: Json) -> Json:
    """Leave out protobuf's default values, as java-tron's JSON does."""
    return {key: value for key, value in found.items() if value}
