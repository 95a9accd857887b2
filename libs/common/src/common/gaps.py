"""Outbox against inbox: what a producer told and a consumer never handled is told again; the rest is named.

The outbox is the truth: a broker may lose what it has acknowledged. The consumer asks the producer over HTTP, so
both sides need no more than they have. What enters: a producer's outbox, our inbox. What never happens here: an
effect; an event that is told again goes its usual way, where the inbox keeps it single.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, Field

from common import inbox, outbox
from common.auth import require_service
from common.crash import crash_point
from common.db import Database
from common.internal import InternalClient
from common.logging import get_logger, report
from common.web import Body, router

log = get_logger()

PAGE = 500
LATE = timedelta(seconds=30)
"""An event that was published and not handled for so long is a gap, not on its way."""
WINDOW = timedelta(days=7)
"""How far back is compared; a gap is found within seconds, and rows stay for thirty days."""
NAMED = 20
NO_UUID = UUID(int=0)


class EventGap(Exception):
    """Events that were published did not arrive, and are published again."""


class PublishedOut(BaseModel):
    """A published event."""

    id: int
    event_id: UUID
    published_at: datetime


class PublishedPage(BaseModel):
    """Published events in the outbox's order."""

    events: list[PublishedOut]


class EventsIn(Body):
    """Events, by their ids."""

    event_ids: Annotated[list[Annotated[UUID, Field(strict=False)]], Field(max_length=PAGE)]


class EventsOut(BaseModel):
    """Those that were never told here."""

    unknown: list[UUID]


class CountOut(BaseModel):
    """How many."""

    count: int


def outbox_routes(*callers: str) -> APIRouter:
    """Return the endpoints by which these services compare their inbox with our outbox."""
    routes = router(prefix="/internal/v1/outbox", include_in_schema=False)
    caller = Depends(require_service(*callers))

    @routes.get("", dependencies=[caller])
    async def published(
        request: Request,
        subject: Annotated[list[str], Query(max_length=20)],
        since: AwareDatetime,
        after: Annotated[int, Query(ge=0)] = 0,
    ) -> PublishedPage:
        async with _database(request).transaction() as connection:
            found = await outbox.published(connection, subject, after, since, PAGE)
        return PublishedPage(events=[PublishedOut(**_fields(event)) for event in found])

    @routes.post("/unknown", dependencies=[caller])
    async def unknown(body: EventsIn, request: Request) -> EventsOut:
        async with _database(request).transaction() as connection:
            return EventsOut(unknown=await outbox.unknown(connection, body.event_ids))

    @routes.post("/again", dependencies=[caller])
    async def publish_again(body: EventsIn, request: Request) -> CountOut:
        async with _database(request).transaction() as connection:
            return CountOut(count=await outbox.publish_again(connection, body.event_ids))

    return routes


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _fields(event: outbox.Published) -> dict[str, Any]:
    return {"id": event.id, "event_id": event.event_id, "published_at": event.published_at}


@dataclass(slots=True)
class Followed:
    """A producer that one of our consumers follows, and up to where nothing is missing."""

    consumer: str
    """Its name in our inbox."""
    producer: InternalClient
    subjects: Sequence[str]
    complete_to: int = field(default=0)

    async def _published(self, after: int) -> list[outbox.Published]:
        since = (datetime.now(UTC) - WINDOW).isoformat()
        query = {"after": after, "since": since, "subject": list(self.subjects)}
        found = await self.producer.call("GET", "/internal/v1/outbox", params=query)
        return [
            outbox.Published(e["id"], UUID(e["event_id"]), datetime.fromisoformat(e["published_at"]))
            for e in found["events"]
        ]

    async def gaps(self, database: Database, *, whole: bool) -> list[UUID]:
        """Return events that were published a while ago and never handled.

        Args:
            whole: look at the whole window; else go on from where nothing was missing.
        """
        after, moving, missing = (0 if whole else self.complete_to), True, list[UUID]()
        while found := await self._published(after):
            after, settled = found[-1].id, datetime.now(UTC) - LATE
            async with database.transaction() as connection:
                lost = set(await inbox.missing(connection, self.consumer, [e.event_id for e in found]))
            missing += [e.event_id for e in found if e.event_id in lost and e.published_at <= settled]
            moving = moving and not lost and found[-1].published_at <= settled
            if moving:
                self.complete_to = after
            if len(found) < PAGE:
                break
        return missing

    async def strangers(self, database: Database) -> list[UUID]:
        """Return events that we handled and the producer does not know: its outbox has lost a row."""
        after, since, found = NO_UUID, datetime.now(UTC) - WINDOW, list[UUID]()
        while True:
            async with database.transaction() as connection:
                page = await inbox.page(connection, self.consumer, after, since, PAGE)
            if page:
                body = {"event_ids": [str(event_id) for event_id in page]}
                answer = await self.producer.call("POST", "/internal/v1/outbox/unknown", body)
                found += [UUID(event_id) for event_id in answer["unknown"]]
            if len(page) < PAGE:  # what arrives meanwhile is looked at the next time
                return found
            after = page[-1]


async def close_gaps(database: Database, followed: Sequence[Followed]) -> int:
    """Have the producers tell again what never arrived; return how many events."""
    count = 0
    for one in followed:
        missing = await one.gaps(database, whole=False)
        for start in range(0, len(missing), PAGE):
            some = [str(event_id) for event_id in missing[start : start + PAGE]]
            crash_point("gap.found")
            await one.producer.call("POST", "/internal/v1/outbox/again", {"event_ids": some})
        if missing:
            log.error("events.gap", consumer=one.consumer, missing=len(missing), first=str(missing[0]))
            report(EventGap(f"{one.consumer}: {len(missing)} events did not arrive, {missing[0]} first"))
        count += len(missing)
    return count


async def compare(database: Database, followed: Sequence[Followed]) -> dict[str, list[str]]:
    """Return what is not the same in the producers' outboxes and our inbox, by consumer (invariant 5)."""
    missing: list[str] = []
    strangers: list[str] = []
    for one in followed:
        missing += [f"{one.consumer}:{event_id}" for event_id in await one.gaps(database, whole=True)]
        strangers += [f"{one.consumer}:{event_id}" for event_id in await one.strangers(database)]
    return {"event_not_handled": missing[:NAMED], "event_not_in_outbox": strangers[:NAMED]}
