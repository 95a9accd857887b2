"""Every status × every action, with and without a command in flight."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from deals.domain.errors import ActionPending, IllegalTransition
from deals.domain.model import Action, Command, CommandState, Deal, Dispute, Movement, Status
from deals.domain.transitions import (
    PUBLIC_ACTIONS,
    AlreadyDone,
    InFlight,
    MoneyNeeded,
    Moved,
    VoidHold,
    act,
    check_won,
    settle,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ABOUT = Dispute("Late", "Two weeks late", NOW)


def deal(status: Status) -> Deal:
    disputed = status in (Status.DISPUTE, Status.ARB_CLOSE_PERFORMER, Status.ARB_CLOSE_CUSTOMER)
    return Deal(
        id=7,
        tenant_id=1,
        chat_id=UUID(int=7),
        title="A logo",
        description="Three drafts",
        price=12_500_000,
        currency="USDT",
        customer_id=1,
        performer_id=2,
        status=status,
        deadline_at=None,
        overdue_at=None,
        dispute=ABOUT if disputed else None,
        attempts=1,
        version=4,
        created_at=NOW,
        updated_at=NOW,
    )


def command(action: Action, void_to: Status | None = None) -> Command:
    movement = {
        Action.CONFIRM: Movement.HOLD,
        Action.FUND: Movement.HOLD,
        Action.CLOSE_CUSTOMER: Movement.REFUND,
    }.get(action, Movement.RELEASE)
    return Command(5, 7, action, movement, "deal:7:x:1", CommandState.PENDING, void_to, 0, None, NOW)


S, A = Status, Action
SAME, HOLD, RELEASE, REFUND = "same", "hold", "release", "refund"
EXPECTED: dict[tuple[Status, Action], str | Status] = {
    (S.CREATED, A.CONFIRM): HOLD,
    (S.CREATED, A.DENY): S.DENY_PERFORMER,
    (S.CREATED, A.CANCEL): S.CANCELLED,
    (S.CREATED, A.EXPIRE): S.EXPIRED,
    (S.DENY_PERFORMER, A.DENY): SAME,
    (S.WAITING_FOR_PAYMENT, A.CONFIRM): SAME,
    (S.WAITING_FOR_PAYMENT, A.FUND): HOLD,
    (S.WAITING_FOR_PAYMENT, A.CANCEL): S.CANCELLED,
    (S.WAITING_FOR_PAYMENT, A.EXPIRE): S.EXPIRED,
    (S.CONFIRM_PERFORMER, A.CONFIRM): SAME,
    (S.CONFIRM_PERFORMER, A.CLOSE): RELEASE,
    (S.CONFIRM_PERFORMER, A.DISPUTE): S.DISPUTE,
    (S.CONFIRMED, A.CONFIRM): SAME,
    (S.CONFIRMED, A.CLOSE): RELEASE,
    (S.CONFIRMED, A.DISPUTE): S.DISPUTE,
    (S.DISPUTE, A.DISPUTE): SAME,
    (S.DISPUTE, A.CLOSE_PERFORMER): RELEASE,
    (S.DISPUTE, A.CLOSE_CUSTOMER): REFUND,
    (S.CLOSE, A.CLOSE): SAME,
    (S.ARB_CLOSE_PERFORMER, A.CLOSE_PERFORMER): SAME,
    (S.ARB_CLOSE_CUSTOMER, A.CLOSE_CUSTOMER): SAME,
    (S.CANCELLED, A.CANCEL): SAME,
    (S.EXPIRED, A.EXPIRE): SAME,
}
"""All that is not named here is refused."""


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("action", list(Action))
def test_every_status_and_action(status: Status, action: Action) -> None:
    expected = EXPECTED.get((status, action))
    about = ABOUT if action is Action.DISPUTE else None
    if expected is None:
        with pytest.raises(IllegalTransition) as refused:
            act(deal(status), None, action, NOW, about)
        assert refused.value.members["status_of_deal"] == status.value
        return
    found = act(deal(status), None, action, NOW, about)
    match found:
        case AlreadyDone():
            assert expected == SAME
        case MoneyNeeded(after, new):
            assert (new.movement.value, after.status, after.attempts) == (expected, status, 2)
            assert new.key == f"deal:7:{expected}:2"
        case Moved(after):
            assert (after.status, after.version) == (expected, 5)
        case _:
            pytest.fail(f"{found}")


@pytest.mark.parametrize("status", list(Status))
def test_the_allowed_actions_are_those_that_change_the_deal(status: Status) -> None:
    public = set(Action) - {Action.FUND, Action.EXPIRE}
    changing = {a for a in public if EXPECTED.get((status, a)) not in (None, SAME)}

    assert set(PUBLIC_ACTIONS[status]) == changing


@pytest.mark.parametrize(
    ("status", "in_flight", "action", "expected"),
    [
        (S.CREATED, A.CONFIRM, A.CONFIRM, InFlight()),
        (S.CREATED, A.CONFIRM, A.DENY, None),
        (S.CREATED, A.CONFIRM, A.CANCEL, VoidHold(S.CANCELLED)),
        (S.CREATED, A.CONFIRM, A.EXPIRE, VoidHold(S.EXPIRED)),
        (S.WAITING_FOR_PAYMENT, A.FUND, A.CONFIRM, AlreadyDone()),
        (S.WAITING_FOR_PAYMENT, A.FUND, A.CANCEL, VoidHold(S.CANCELLED)),
        (S.WAITING_FOR_PAYMENT, A.FUND, A.CLOSE, None),
        (S.CONFIRMED, A.CLOSE, A.CLOSE, InFlight()),
        (S.CONFIRMED, A.CLOSE, A.DISPUTE, None),
        (S.CONFIRMED, A.CLOSE, A.CANCEL, None),
        (S.DISPUTE, A.CLOSE_PERFORMER, A.CLOSE_PERFORMER, InFlight()),
        (S.DISPUTE, A.CLOSE_PERFORMER, A.CLOSE_CUSTOMER, None),
        (S.DISPUTE, A.CLOSE_CUSTOMER, A.CLOSE_PERFORMER, None),
    ],
)
def test_one_movement_at_a_time(status: Status, in_flight: Action, action: Action, expected: object) -> None:
    if expected is None:
        with pytest.raises(ActionPending):
            act(deal(status), command(in_flight), action, NOW, None)
    else:
        assert act(deal(status), command(in_flight), action, NOW, None) == expected


def test_a_voided_hold_answers_its_own_action_and_refuses_the_others() -> None:
    voiding = command(Action.CONFIRM, void_to=Status.CANCELLED)

    assert act(deal(S.CREATED), voiding, Action.CANCEL, NOW) == InFlight()
    for action in (Action.CONFIRM, Action.DENY, Action.EXPIRE):
        with pytest.raises(ActionPending):
            act(deal(S.CREATED), voiding, action, NOW)


def test_another_dispute_on_a_disputed_deal_is_refused() -> None:
    with pytest.raises(IllegalTransition):
        act(deal(S.DISPUTE), None, Action.DISPUTE, NOW, replace(ABOUT, title="Something else"))


@pytest.mark.parametrize(
    ("status", "action", "void_to", "outcome", "after", "alarm"),
    [
        (S.CREATED, A.CONFIRM, None, CommandState.APPLIED, S.CONFIRM_PERFORMER, False),
        (S.CREATED, A.CONFIRM, None, CommandState.REJECTED, S.WAITING_FOR_PAYMENT, False),
        (S.CREATED, A.CONFIRM, S.CANCELLED, CommandState.APPLIED, S.CONFIRM_PERFORMER, False),
        (S.CREATED, A.CONFIRM, S.CANCELLED, CommandState.VOIDED, S.CANCELLED, False),
        (S.CREATED, A.CONFIRM, S.EXPIRED, CommandState.REJECTED, S.EXPIRED, False),
        (S.WAITING_FOR_PAYMENT, A.FUND, None, CommandState.APPLIED, S.CONFIRMED, False),
        (S.WAITING_FOR_PAYMENT, A.FUND, None, CommandState.REJECTED, S.WAITING_FOR_PAYMENT, False),
        (S.WAITING_FOR_PAYMENT, A.FUND, S.EXPIRED, CommandState.VOIDED, S.EXPIRED, False),
        (S.CONFIRMED, A.CLOSE, None, CommandState.APPLIED, S.CLOSE, False),
        (S.CONFIRMED, A.CLOSE, None, CommandState.REJECTED, S.CONFIRMED, True),
        (S.DISPUTE, A.CLOSE_PERFORMER, None, CommandState.APPLIED, S.ARB_CLOSE_PERFORMER, False),
        (S.DISPUTE, A.CLOSE_CUSTOMER, None, CommandState.APPLIED, S.ARB_CLOSE_CUSTOMER, False),
        (S.DISPUTE, A.CLOSE_CUSTOMER, None, CommandState.REJECTED, S.DISPUTE, True),
    ],
)
def test_the_ledgers_answer_decides_the_status(
    status: Status,
    action: Action,
    void_to: Status | None,
    outcome: CommandState,
    after: Status,
    alarm: bool,
) -> None:
    settled = settle(deal(status), command(action, void_to), outcome, NOW)

    assert (settled.deal.status, settled.alarm is not None) == (after, alarm)
    assert settled.changed == (after is not status)
    waits = after is Status.WAITING_FOR_PAYMENT
    assert settled.fund_again == waits


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("action", [A.CONFIRM, A.CLOSE, A.CLOSE_PERFORMER, A.CLOSE_CUSTOMER])
def test_a_confirmation_lost_where_the_deal_ended_meanwhile(status: Status, action: Action) -> None:
    if action is A.CONFIRM and status in {S.CANCELLED, S.EXPIRED}:
        with pytest.raises(IllegalTransition) as refusal:
            check_won(deal(status), action)
        assert refusal.value.members == {"status_of_deal": status.value, "allowed_actions": []}
    else:
        check_won(deal(status), action)
