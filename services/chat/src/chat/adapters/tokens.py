"""Participant tokens: JWTs under Ed25519 (RFC 8037), signed by deals; chat holds the public key alone."""

from datetime import UTC, datetime
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chat.domain.model import Claims, Role

AUDIENCE = "garant-chat"


class Ed25519Tokens:
    """See `chat.domain.ports.Tokens`. The public key is 32 bytes in hex."""

    def __init__(self, public_key_hex: str) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key_hex))

    def read(self, token: str, now: datetime) -> Claims | None:
        """See the port. The expiry is checked against `now`, to the second."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                options={"require": ["exp", "aud"], "verify_exp": False, "verify_iat": False},
            )
            expires_at = datetime.fromtimestamp(float(claims["exp"]), UTC)
            if expires_at <= now:
                return None
            role, user_id = Role(claims["role"]), claims["user_id"]
            if (user_id is None) != (role is Role.ARBITER):
                return None
            return Claims(UUID(claims["chat_id"]), role, user_id, claims.get("key_id"), expires_at)
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, OverflowError):
            return None
