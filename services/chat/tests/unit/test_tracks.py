"""A chat's sequence in whatever order it is heard of: each once, in order, and nothing is kept for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.api import tracks
from chat.api.packets import event
from chat.api.tracks import Entry, Track

BODY = event("message", b"{}")
PLENTY = 10**6


def entries(*seqs: int) -> list[Entry]:
    return [Entry(seq, BODY) for seq in seqs]


def sent(track: Track, *seqs: int) -> list[int]:
    """Tell a track of these, one after the other; return what the members are sent."""
    found = []
    for entry in entries(*seqs):
        track.hear(entry)
        found += track.ready()
    return [entry.seq for entry in found]


def fill(track: Track, last: int) -> list[int]:
    """Read what lacks from the database, in pages of three, as the rooms do."""
    found: list[int] = []
    track.heard = max(track.heard, last)
    while track.behind:
        start = track.delivered
        found += sent(track, *range(start + 1, min(start + 4, last + 1)))
        assert track.delivered > start
    return found


@given(
    last=st.integers(1, 40),
    told=st.lists(st.integers(1, 40), max_size=200),
    start=st.integers(0, 10),
    most=st.integers(1, 12),
    fills=st.sets(st.integers(0, 200), max_size=4),
)
def test_in_any_order_twice_or_never_each_is_sent_once_and_in_order(
    last: int, told: list[int], start: int, most: int, fills: set[int]
) -> None:
    track, found = Track(delivered=start, heard=start), list[int]()
    last = max(last, start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracks, "MOST_KEPT", most)
        for number, seq in enumerate(told):
            if seq <= last:
                found += sent(track, seq)
            if number in fills:
                found += fill(track, last)
            assert len(track.kept) <= most
        found += fill(track, last)
    track.forget()

    assert found == list(range(start + 1, last + 1))
    assert (track.delivered, track.behind, track.kept) == (last, False, {})


def test_a_gap_holds_back_what_comes_after_it() -> None:
    track = Track()

    assert sent(track, 1, 3, 4) == [1]
    assert track.behind
    assert sent(track, 2) == [2, 3, 4]
    assert not track.behind


def test_what_the_members_have_is_not_sent_again() -> None:
    track = Track(delivered=5, heard=5)

    assert sent(track, 3, 5, 6, 6, 4) == [6]


def test_while_somebody_joins_what_was_sent_is_kept_and_then_dropped() -> None:
    track = Track()
    sent(track, 1, 2, 3, 5)

    assert [entry.seq for entry in track.after(1, PLENTY)] == [2, 3]
    track.forget()
    assert sorted(track.kept) == [5]
    sent(track, 4)
    track.forget()
    assert track.kept == {}


def test_of_what_is_kept_as_much_is_taken_as_is_wanted() -> None:
    track = Track()
    sent(track, 1, 2, 3, 4)
    size = len(BODY.payload)

    assert [entry.seq for entry in track.after(0, 2 * size)] == [1, 2]
    assert [entry.seq for entry in track.after(2, size + 1)] == [3, 4]
    assert (track.has(4), track.has(5)) == (True, False)


@pytest.mark.parametrize(
    ("last", "asked_at", "behind"),
    [(5, 9, False), (9, 9, True), (5, 8, True)],
    ids=["it is not there", "it is there", "more was told of since"],
)
def test_what_was_told_of_and_is_not_there_is_waited_for_no_more(last: int, asked_at: int, behind: bool) -> None:
    track = Track(delivered=5, heard=9)

    track.forget_untrue(last, asked_at)

    assert track.behind is behind


def test_what_is_kept_has_a_bound_and_the_oldest_is_dropped() -> None:
    track = Track()

    assert sent(track, *range(2, tracks.MOST_KEPT + 3)) == []
    assert len(track.kept) == tracks.MOST_KEPT
    assert 2 not in track.kept
    assert track.heard == tracks.MOST_KEPT + 2
