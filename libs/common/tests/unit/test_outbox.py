"""How much a relay sends at once."""

import pytest

from common.outbox import BATCH_BYTES, Message, _at_once


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], 0),
        ([10, 20], 2),
        ([BATCH_BYTES], 1),
        ([BATCH_BYTES // 2, BATCH_BYTES // 2, 1], 2),
        ([BATCH_BYTES + 1, 1], 1),  # one always goes
        ([1, BATCH_BYTES], 1),
    ],
)
def test_a_relay_sends_no_more_bytes_at_once_than_the_client_may_keep(sizes: list[int], expected: int) -> None:
    messages = [Message("x.told", b"x" * size, str(place)) for place, size in enumerate(sizes)]

    assert _at_once(messages) == messages[:expected]
