"""Accounts that are there from genesis, with keys that everybody can compute: for tests, never for money."""

import hashlib

from coincurve import PrivateKey

from tron_sandbox import addresses

SUN_EACH = 10_000 * 10**6


def key(number: int) -> PrivateKey:
    """Return the key of a genesis account; the first has the number 0."""
    return PrivateKey(hashlib.sha256(b"garant sandbox account %d" % number).digest())


def address(number: int) -> bytes:
    """Return the address of a genesis account."""
    return addresses.of_public_key(key(number).public_key.format(compressed=False))
