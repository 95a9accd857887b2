"""Calls to another service's internal endpoints: time-outs, the credential, the request id."""

from typing import Any

import httpx

from common.auth import Principal
from common.errors import ServiceError, Unavailable
from common.ids import request_id

TIMEOUT = httpx.Timeout(5.0, connect=2.0, pool=5.0)


async def _add_request_id(request: httpx.Request) -> None:
    current = request_id()
    if current:
        request.headers["x-request-id"] = current


class InternalClient:
    """An HTTP client for one service.

    Args:
        base_url: where the service listens.
        credential: the secret by which it knows us.
        transport: another way to carry requests than TCP.
    """

    def __init__(self, base_url: str, credential: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {credential}"},
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=32),
            event_hooks={"request": [_add_request_id]},
            trust_env=False,
            transport=transport,
        )

    async def call(self, method: str, path: str, json: Any = None, params: Any = None) -> Any:
        """Call and return the JSON of a 200; None for a 404.

        Raises:
            Unavailable: on a time-out, a broken connection or a 5xx; whether it was done is not known.
            RuntimeError: on any other answer, which is a bug of ours.
        """
        try:
            response = await self._client.request(method, path, json=json, params=params)
        except httpx.HTTPError as error:
            raise Unavailable(f"{path} did not answer: {type(error).__name__}") from error
        if response.status_code >= 500 or response.status_code == 429:
            raise Unavailable(f"{path} answered {response.status_code}")
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


class RemoteKeys:
    """Looks keys up at the service that owns them."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client

    async def verify(self, key_hash: str) -> Principal | None:
        """See `common.auth.KeyVerifier.verify`."""
        found = await self._client.call("POST", "/internal/v1/keys/verify", {"key_hash": key_hash})
        if found is None:
            return None
        if not isinstance(found, dict):
            raise ServiceError("the key check answered nonsense")
        return Principal(found["tenant_id"], found["key_id"], frozenset(found["scopes"]))
