"""A client as a marketplace would write it: it asks again while the other side is away, up to a limit."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from support.system import System

PAUSE_S = 0.25
CALL_TIMEOUT_S = 15.0
AWAY = frozenset({429, 502, 503, 504})
T = TypeVar("T")


class GaveUp(Exception):
    """The other side did not do its part in time; the text says what was asked for and the last answer."""


@dataclass(slots=True)
class Client:
    """Calls the gateway. `broken` keeps every answer 500, which is a bug whatever dies meanwhile."""

    system: System
    http: httpx.AsyncClient
    patience_s: float
    calls: int = 0
    retries: int = 0
    broken: list[str] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, body: Any = None, key: str = "API_KEY", once: str | None = None
    ) -> httpx.Response:
        """Call until there is an answer; the caller looks at a 2xx or a 4xx.

        Args:
            once: the Idempotency-Key, where asking again would do a second thing.

        Raises:
            GaveUp: when there was none in time.
        """
        headers = {"authorization": f"Bearer {self.system.environment[key]}"}
        if once is not None:
            headers["idempotency-key"] = once
        url = f"{self.system.environment['GATEWAY_URL']}/api/v1{path}"

        async def attempt() -> httpx.Response | str:
            answer = await self.http.request(method, url, json=body, headers=headers)
            if answer.status_code == 500:
                self.broken.append(f"{method} {path}: {answer.text}")
            away = answer.status_code == 500 or answer.status_code in AWAY or _in_flight(answer)
            return f"{answer.status_code} {answer.text}" if away else answer

        return await self.insist(f"{method} {path}", attempt)

    async def node(self, name: str, **body: Any) -> Any:
        """Call the sandbox node (`admin/faucet`, `wallet/getblock`); a call that was cut off is made again.

        Raises:
            GaveUp: when there was no answer in time.
        """

        async def attempt() -> list[Any] | str:
            answer = await self.http.post(f"{self.system.environment['TRON_NODE_URL']}/{name}", json=body)
            return [answer.json()] if answer.status_code == 200 else f"{answer.status_code} {answer.text}"

        (found,) = await self.insist(name, attempt)
        return found

    async def insist(self, what: str, attempt: Callable[[], Awaitable[T | str]]) -> T:
        """Try until something else than a text, which tells the trouble, comes back.

        Raises:
            GaveUp: when it did not come in time.
        """
        deadline = time.monotonic() + self.patience_s
        while True:
            self.calls += 1
            try:
                found = await attempt()
            except httpx.TransportError as error:
                found = repr(error)
            if not isinstance(found, str):
                return found
            if time.monotonic() > deadline:
                raise GaveUp(f"{what}: {found} after {self.patience_s:.0f} s")
            self.retries += 1
            await asyncio.sleep(PAUSE_S)

    async def until(
        self,
        what: str,
        probe: Callable[[], Awaitable[T]],
        accept: Callable[[T], bool],
        within_s: float | None = None,
    ) -> T:
        """Ask `probe` until its answer is accepted.

        Raises:
            GaveUp: when it was not in time.
        """
        deadline = time.monotonic() + (within_s or self.patience_s)
        while True:
            found = await probe()
            if accept(found):
                return found
            if time.monotonic() > deadline:
                raise GaveUp(f"{what}: still {found!r} after {within_s or self.patience_s:.0f} s")
            await asyncio.sleep(PAUSE_S)


def _in_flight(answer: httpx.Response) -> bool:
    """Tell whether the call before this one, which was cut off, is still under way."""
    return answer.status_code == 409 and answer.json()["code"] == "idempotency_key_in_flight"


@contextlib.asynccontextmanager
async def client_of(system: System, patience_s: float) -> AsyncIterator[Client]:
    """Yield a client with connections of its own."""
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(timeout=CALL_TIMEOUT_S, limits=limits, trust_env=False) as http:
        yield Client(system, http, patience_s)
