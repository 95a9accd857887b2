"""Participant tokens as JWTs under Ed25519 (RFC 8037): chat checks them with the public key alone."""

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Ed25519Signer:
    """Signs with a private key of 32 bytes, given in hex."""

    def __init__(self, private_key_hex: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_key_hex))

    def sign(self, claims: dict[str, object]) -> str:
        """Return the signed token."""
        return jwt.encode(claims, self._key, algorithm="EdDSA")
