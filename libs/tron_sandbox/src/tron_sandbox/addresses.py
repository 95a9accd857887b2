"""Addresses: 21 raw bytes that begin with 0x41, as hex or as base58 with a checksum (TIP-5)."""

import base58
from eth_utils import keccak

PREFIX = b"\x41"
SIZE = 21


class AddressError(ValueError):
    """Text that is no Tron address."""


def from_text(text: object) -> bytes:
    """Read hex (`41…` or `0x…`) or base58check.

    Raises:
        AddressError: when it is neither, or its checksum is wrong.
    """
    if not isinstance(text, str) or not text:
        raise AddressError("the address is empty")
    try:
        raw = base58.b58decode_check(text) if text.startswith("T") else bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise AddressError(f"invalid address {text[:64]!r}") from error
    if len(raw) == SIZE - 1:
        raw = PREFIX + raw
    if len(raw) != SIZE or not raw.startswith(PREFIX):
        raise AddressError(f"invalid address {text[:64]!r}")
    return raw


def to_base58(raw: bytes) -> str:
    """Write an address for people."""
    text: str = base58.b58encode_check(raw).decode()
    return text


def to_text(raw: bytes, *, visible: bool) -> str:
    """Write an address as java-tron's JSON does."""
    return to_base58(raw) if visible else raw.hex()


def of_public_key(uncompressed: bytes) -> bytes:
    """Return the address of a public key of 65 bytes."""
    return PREFIX + bytes(keccak(uncompressed[1:])[-20:])
