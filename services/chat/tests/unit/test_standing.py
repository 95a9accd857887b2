"""Who may enter and write as the deal stands, without IO."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from chat.domain.errors import NoDispute, ReadOnly
from chat.domain.model import FINAL, UNTOLD, Claims, Role, Standing, SystemEvent, may_enter, may_write

NOW = datetime(2026, 3, 1, tzinfo=UTC)
AFTER = timedelta(days=30)
CHAT_ID = UUID(int=1)
PLAIN = Claims(CHAT_ID)
CUSTOMER = Claims(CHAT_ID, Role.CUSTOMER, 1)
ARBITER = Claims(CHAT_ID, Role.ARBITER)
LIVE = ("created", "waiting_for_payment", "confirm_performer", "confirmed")


@pytest.mark.parametrize("status", [None, "dispute", *LIVE, *sorted(FINAL)])
def test_parties_always_enter_and_an_arbiter_while_a_dispute_is_open(status: str | None) -> None:
    standing = Standing(status, NOW if status in FINAL else None, 2)

    assert may_enter(standing, PLAIN)
    assert may_enter(standing, CUSTOMER)
    assert may_enter(standing, ARBITER) == (status == "dispute")


@pytest.mark.parametrize("who", [PLAIN, CUSTOMER])
def test_a_chat_is_read_only_from_the_limit_on(who: Claims) -> None:
    for standing in (
        UNTOLD,
        Standing("confirmed", None, 3),
        Standing("close", NOW - AFTER + timedelta(seconds=1), 4),
    ):
        may_write(standing, who, NOW, AFTER)
    with pytest.raises(ReadOnly) as refused:
        may_write(Standing("close", NOW - AFTER, 4), who, NOW, AFTER)
    assert refused.value.code == "read_only"


def test_an_arbiter_writes_while_a_dispute_is_open() -> None:
    may_write(Standing("dispute", None, 3), ARBITER, NOW, AFTER)
    for standing in (UNTOLD, Standing("confirmed", None, 3), Standing("arb_close_customer", NOW, 4)):
        with pytest.raises(NoDispute) as refused:
            may_write(standing, ARBITER, NOW, AFTER)
        assert refused.value.code == "no_dispute"


def test_a_system_event_as_clients_get_it() -> None:
    assert SystemEvent(CHAT_ID, 3, "dispute.opened", "dispute", NOW).shown() == {
        "seq": 3,
        "type": "dispute.opened",
        "status": "dispute",
        "created_at": "2026-03-01T00:00:00+00:00",
    }
