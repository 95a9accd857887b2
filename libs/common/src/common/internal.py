"""Calls to another service's internal endpoints: time-outs, the credential, the request id."""

import asyncio
from typing import Any

import aiohttp
import httpx
import orjson

from common.auth import Principal
from common.errors import ServiceError, Unavailable
from common.ids import request_id

TOTAL_S = 5.0
CONNECT_S = 2.0
CONNECTIONS = 64


class Connections(httpx.AsyncBaseTransport):
    """Carries httpx's requests over aiohttp's connections.

    httpx's own pool asks the socket of each idle connection before each request, which costs milliseconds where
    many are kept; aiohttp's is told by the loop when one was closed.
    """

    def __init__(self, total_s: float = TOTAL_S) -> None:
        self._total_s = total_s
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request.

        Raises:
            httpx.TransportError: when no whole answer came; whether the request was handled is not known.
        """
        session = self._session or self._open()
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        try:
            async with session.request(
                request.method, str(request.url), data=request.content, headers=headers, allow_redirects=False
            ) as answer:
                return httpx.Response(answer.status, content=await answer.read(), request=request)
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"no answer in {self._total_s} s", request=request) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.NetworkError(repr(error), request=request) from error

    def _open(self) -> aiohttp.ClientSession:
        """Open the session inside the loop; what it carries is never a cookie nor for a proxy."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=self._total_s, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent",),
            trust_env=False,
        )
        return self._session

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # the sockets are closed by the loop's next turn


class Refused(RuntimeError):
    """The other service refused a call: a bug of ours, unless the caller expects the problem's code."""

    def __init__(self, text: str, problem: bytes) -> None:
        super().__init__(text)
        self._problem = problem

    @property
    def code(self) -> str | None:
        """The problem's stable code."""
        return self._member("code")

    @property
    def detail(self) -> str | None:
        """The problem's text for people."""
        return self._member("detail")

    def _member(self, name: str) -> str | None:
        try:
            return str(orjson.loads(self._problem)[name])
        except (ValueError, KeyError, TypeError):
            return None


class InternalClient:
    """An HTTP client for one service.

    Args:
        base_url: where the service listens.
        credential: the secret by which it knows us.
        transport: another way to carry requests than TCP.
    """

    def __init__(self, base_url: str, credential: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {credential}", "content-type": "application/json"}
        self._transport = transport or Connections()

    async def call(self, method: str, path: str, json: Any = None, params: Any = None) -> Any:
        """Call and return the JSON of a 200; None for a 404.

        Raises:
            Unavailable: on a time-out, a broken connection or a 5xx; whether it was done is not known.
            Refused: on any other answer.
        """
        try:
            response = await self._transport.handle_async_request(self._request(method, path, json, params))
            await response.aread()
        except httpx.HTTPError as error:
            raise Unavailable(f"{path} did not answer: {type(error).__name__}") from error
        if response.status_code >= 500 or response.status_code == 429:
            raise Unavailable(f"{path} answered {response.status_code}")
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            text = f"{method} {path}: {response.status_code} {response.text[:500]}"
            raise Refused(text, response.content)
        return orjson.loads(response.content)

    def _request(self, method: str, path: str, json: Any, params: Any) -> httpx.Request:
        headers, current = self._headers, request_id()
        if current:
            headers = {**headers, "x-request-id": current}
        content = None if json is None else orjson.dumps(json)
        return httpx.Request(method, self._base_url + path, params=params, headers=headers, content=content)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


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
