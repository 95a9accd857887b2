"""The guard: who was let in once does not stay in for ever.

Every few seconds each client is looked at again: a token that has expired, a key that was revoked, a tenant that
was closed, and an arbiter whose dispute is over end the connection. Its client may connect anew, and is refused.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime
from typing import Protocol

from chat.api.links import Link
from chat.api.rooms import Rooms
from chat.domain.model import may_enter
from common.clock import Clock
from common.errors import Unavailable
from common.logging import get_logger

log = get_logger()

GUARD_EVERY_S = 3.0
SLICE = 200

Gone = Callable[[Collection[int], Collection[int]], Awaitable[tuple[Collection[int], Collection[int]]]]
"""Of these keys and these tenants, which were revoked and closed."""


class Clients(Protocol):
    """All admitted clients, and how to end one."""

    @property
    def links(self) -> Iterable[Link]:
        """All of them, as they are now."""
        ...

    def end(self, link: Link, reason: str) -> None:
        """End one's connection."""
        ...


class Guard:
    """Looks at all clients of this process."""

    def __init__(self, clients: Clients, rooms: Rooms, gone: Gone, clock: Clock) -> None:
        self._clients = clients
        self._rooms = rooms
        self._gone = gone
        self._clock = clock

    async def look(self) -> None:
        """Look once, and end the connections of those who may not stay."""
        now = self._clock.now()
        staying = []
        for number, link in enumerate(self._clients.links):
            if number % SLICE == 0:
                await asyncio.sleep(0)  # messages have their turn
            reason = self._over(link, now)
            if reason is None:
                staying.append(link)
            else:
                self._clients.end(link, reason)
        await self._end_those_gone(staying)

    def _over(self, link: Link, now: datetime) -> str | None:
        claims = link.admission.claims
        if claims.expires_at is not None and claims.expires_at <= now:
            return "token_expired"
        room = self._rooms.find(link.chat_id)
        standing = room.state.standing if room is not None and room.state is not None else None
        if standing is not None and not may_enter(standing, claims):
            return "dispute_over"
        return None

    async def _end_those_gone(self, links: Collection[Link]) -> None:
        keys = {key for link in links if (key := link.admission.claims.key_id) is not None}
        tenants = {link.admission.chat.tenant_id for link in links}
        if not tenants:
            return
        try:
            revoked, closed = await self._gone(keys, tenants)
        except Unavailable as error:  # accounts is away: those who are in stay until it is back
            log.warning("chat.keys_not_checked", error=error.detail)
            return
        if not revoked and not closed:
            return
        for link in links:
            if link.admission.claims.key_id in revoked:
                self._clients.end(link, "key_revoked")
            elif link.admission.chat.tenant_id in closed:
                self._clients.end(link, "tenant_closed")
