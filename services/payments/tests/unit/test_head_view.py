"""The line of blocks at the head: replaced where it forks, and solid only where a solid block's parents lead."""

from datetime import UTC, datetime

from payments.domain.head_view import HeadView
from payments.domain.model import HeadBlock, Header

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def block(height: int, branch: str = "a", parent: str | None = None) -> HeadBlock:
    before = parent or f"{branch}{height - 1}"
    return HeadBlock(Header(height, f"{branch}{height}", before, TIME, empty=False), [])


def view(*blocks: HeadBlock) -> HeadView:
    found = HeadView()
    for one in blocks:
        found.put([one])
    return found


def test_a_branch_replaces_what_it_forks_away_and_what_was_above() -> None:
    found = view(block(5), block(6), block(7), block(8))

    found.put([block(7, "b"), block(6, "b", "a5")])

    assert [b.header.hash for b in found.blocks.values()] == ["a5", "b6", "b7"]
    assert found.top == 7


def test_headers_are_solid_as_far_down_as_the_hashes_of_parents_lead() -> None:
    found = view(block(5), block(6, "b"), block(7, "b"), block(8, "b"))

    assert list(found.solid_headers(block(7, "b").header)) == [7, 6]
    assert found.solid_headers(block(7, "c").header) == {}
    assert found.solid_headers(block(9, "b").header) == {}


def test_what_is_solid_is_forgotten_and_all_of_it_where_it_does_not_lead_on() -> None:
    found = view(block(5), block(6), block(7))
    found.drop_solid(block(5).header)
    assert list(found.blocks) == [6, 7]

    found.drop_solid(block(6, "b").header)
    assert found.blocks == {}
