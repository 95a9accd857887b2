"""Who calls: API keys of tenants on the public paths, service credentials on the internal ones.

A key is 256 random bits, so its plain SHA-256 is what is stored, looked up and sent between services.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from common.errors import Forbidden, ServiceError, Unauthorized

CACHE_S = 5.0
STALE_IF_ERROR_S = 300.0
CACHE_ENTRIES = 10_000
KEY_PREFIX = "gk_"

_bearer = HTTPBearer(auto_error=False, description="An API key of your tenant")


@dataclass(frozen=True, slots=True)
class Principal:
    """The tenant and the scopes that a key stands for."""

    tenant_id: int
    key_id: int
    scopes: frozenset[str]


class KeyVerifier(Protocol):
    """Where keys are looked up."""

    async def verify(self, key_hash: str) -> Principal | None:
        """Return whom the key stands for, or None for an unknown or revoked one.

        Raises:
            ServiceError: when the answer can't be had.
        """
        ...


def new_key() -> str:
    """Return a new API key, to be shown once."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """Return what is stored of a key: its SHA-256 in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class CachedVerifier:
    """Remembers positive answers for seconds, and for minutes while the owner of the keys is away."""

    def __init__(self, source: KeyVerifier, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    async def verify(self, key_hash: str) -> Principal | None:
        """See `KeyVerifier.verify`."""
        now = self._monotonic()
        cached = self._known.get(key_hash)
        if cached and now - cached[0] < CACHE_S:
            return cached[1]
        try:
            principal = await self._source.verify(key_hash)
        except ServiceError:
            if cached and now - cached[0] < STALE_IF_ERROR_S:
                return cached[1]
            raise
        self._known.pop(key_hash, None)
        if principal is not None:
            self._known[key_hash] = (now, principal)
            if len(self._known) > CACHE_ENTRIES:
                self._known.popitem(last=False)
        return principal

    def forget(self, key_id: int) -> None:
        """Drop a key at once: it was revoked."""
        for key_hash in [h for h, (_, p) in self._known.items() if p.key_id == key_id]:
            del self._known[key_hash]


def require(*scopes: str) -> Callable[..., Awaitable[Principal]]:
    """Return the dependency that lets in keys with any of `scopes`; the app's `state.verifier` answers."""

    async def dependency(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Principal:
        key = None if credentials is None else credentials.credentials
        return await authorize(request.app.state.verifier, key, scopes)

    return dependency


def bearer(authorization: str) -> str | None:
    """Return what the header `Authorization` bears, if it is a bearer's."""
    scheme, _, given = authorization.partition(" ")
    return given if scheme.lower() == "bearer" and given else None


async def authorize(verifier: KeyVerifier, key: str | None, scopes: Sequence[str]) -> Principal:
    """Return whom an API key stands for.

    Raises:
        Unauthorized: without a key that is known.
        Forbidden: when it has none of the scopes.
    """
    if key is None:
        raise Unauthorized("send the header `Authorization: Bearer <api key>`")
    principal = await verifier.verify(hash_key(key))
    if principal is None:
        raise Unauthorized("the API key is not known or was revoked")
    if not principal.scopes.intersection(scopes):
        raise Forbidden(f"this call wants a key with the scope {' or '.join(scopes)}")
    return principal


def require_service(*callers: str) -> Callable[..., Awaitable[str]]:
    """Return the dependency that lets in these services; `state.callers` maps each name to its secret."""

    async def dependency(request: Request) -> str:
        return identify(request.app.state.callers, request.headers.get("authorization", ""), callers)

    return dependency


def identify(accepted: Mapping[str, str], authorization: str, callers: Collection[str]) -> str:
    """Return the service that calls.

    Args:
        accepted: the name and the secret of each service.
        authorization: the header.
        callers: who may call this.

    Raises:
        Unauthorized: without a secret that is known.
        Forbidden: when the service may not call this.
    """
    given = bearer(authorization)
    if given is not None:
        for name, secret in accepted.items():
            if hmac.compare_digest(given.encode(), secret.encode()):
                if name in callers:
                    return name
                raise Forbidden(f"{name} may not call this")
    raise Unauthorized("internal calls want a service credential")
