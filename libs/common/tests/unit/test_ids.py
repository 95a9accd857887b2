"""Identifiers."""

from datetime import UTC, datetime, timedelta

from common.events import Event
from common.ids import uuid_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_id_of_an_event_is_its_own_and_sorts_by_the_time_of_the_fact() -> None:
    events = [Event("x.told", "x:1", 1, 1, NOW + timedelta(milliseconds=n), {}) for n in range(100)]
    ids = [event.id for event in events]

    assert ids == sorted(ids)
    assert {i.version for i in ids} == {7}
    assert {i.variant for i in ids} == {ids[0].variant}
    assert len({uuid_of(NOW) for _ in range(1000)}) == 1000
    assert int.from_bytes(ids[0].bytes[:6], "big") == int(NOW.timestamp() * 1000)
    assert all(event.envelope()["id"] == str(event.id) for event in events)
