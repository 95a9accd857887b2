"""Whose sequences are counted whole in a pass."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from chat.domain.turns import LASTS, MESSAGES, turn_of

NOW = datetime(2026, 11, 26, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MANY = 7 * MESSAGES - 1
FIRST, LAST = UUID(int=0), UUID(int=(1 << 128) - 1)


def test_every_chat_has_its_turn_and_none_has_two() -> None:
    turns = sorted((turn_of(NOW + n * LASTS, MINUTE, MANY) for n in range(7)), key=lambda turn: turn.low)

    assert (turns[0].low, turns[-1].high) == (FIRST, LAST)
    assert [turn.low.int for turn in turns[1:]] == [turn.high.int + 1 for turn in turns[:-1]]


def test_few_messages_are_all_proven_at_once() -> None:
    turn = turn_of(NOW, MINUTE, MESSAGES - 1)
    assert (turn.low, turn.high) == (FIRST, LAST)


def test_a_turn_lasts_for_several_passes() -> None:
    whose = [turn_of(NOW + n * MINUTE, MINUTE, MANY) for n in range(6)]
    assert whose[0] == whose[4] != whose[5]


def test_a_turn_lasts_longer_where_passes_are_rare() -> None:
    hour = timedelta(hours=1)
    whose = [turn_of(NOW + n * hour, hour, MANY) for n in range(12)]
    assert all(whose.count(turn) >= 3 for turn in set(whose))
