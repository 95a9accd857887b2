"""The state machine: deal + action + now → what to store, or a refusal. Pure.

    created ── deny ──► deny_performer          {created, waiting_for_payment} ── cancel ─► cancelled
       └── confirm ─┬─► confirm_performer                                      └─ expire ─► expired
                    └─► waiting_for_payment ── fund ─► confirmed
    {confirm_performer, confirmed} ── close ─► close
                                   └─ dispute ─► dispute ─┬─ close_performer ─► arb_close_performer
                                                          └─ close_customer ──► arb_close_customer

An action that moves money stores a command first; `settle` turns the ledger's answer into the new status.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from deals.domain.errors import ActionPending, IllegalTransition
from deals.domain.model import (
    FUNDED,
    UNFUNDED,
    Action,
    Command,
    CommandState,
    Deal,
    Dispute,
    Movement,
    NewCommand,
    Status,
)

PUBLIC_ACTIONS: Mapping[Status, tuple[Action, ...]] = {
    Status.CREATED: (Action.CONFIRM, Action.DENY, Action.CANCEL),
    Status.WAITING_FOR_PAYMENT: (Action.CANCEL,),
    Status.CONFIRM_PERFORMER: (Action.CLOSE, Action.DISPUTE),
    Status.CONFIRMED: (Action.CLOSE, Action.DISPUTE),
    Status.DISPUTE: (Action.CLOSE_PERFORMER, Action.CLOSE_CUSTOMER),
    Status.DENY_PERFORMER: (),
    Status.CLOSE: (),
    Status.ARB_CLOSE_PERFORMER: (),
    Status.ARB_CLOSE_CUSTOMER: (),
    Status.CANCELLED: (),
    Status.EXPIRED: (),
}
"""The actions that change a deal in each status."""

FINAL = frozenset(status for status, actions in PUBLIC_ACTIONS.items() if not actions)
"""The statuses that a deal never leaves; nothing changes it any more."""

DONE: Mapping[Action, frozenset[Status]] = {
    Action.CONFIRM: FUNDED | {Status.WAITING_FOR_PAYMENT},
    Action.DENY: frozenset({Status.DENY_PERFORMER}),
    Action.CANCEL: frozenset({Status.CANCELLED}),
    Action.CLOSE: frozenset({Status.CLOSE}),
    Action.DISPUTE: frozenset({Status.DISPUTE}),
    Action.CLOSE_PERFORMER: frozenset({Status.ARB_CLOSE_PERFORMER}),
    Action.CLOSE_CUSTOMER: frozenset({Status.ARB_CLOSE_CUSTOMER}),
    Action.FUND: frozenset(),
    Action.EXPIRE: frozenset({Status.EXPIRED}),
}
"""The statuses in which an action is already done: asking again answers the same."""

_MOVEMENTS: Mapping[Action, Movement] = {
    Action.CONFIRM: Movement.HOLD,
    Action.FUND: Movement.HOLD,
    Action.CLOSE: Movement.RELEASE,
    Action.CLOSE_PERFORMER: Movement.RELEASE,
    Action.CLOSE_CUSTOMER: Movement.REFUND,
}


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """Nothing to do: answer the deal as it is."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """The same action waits for the ledger: answer that it is pending."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The deal has a new status and no money moves."""

    deal: Deal


@dataclass(frozen=True, slots=True)
class MoneyNeeded:
    """Store this command; the status changes when the ledger has answered."""

    deal: Deal
    command: NewCommand


@dataclass(frozen=True, slots=True)
class VoidHold:
    """A hold is in flight: void it; unless it was applied already the deal ends as `void_to`."""

    void_to: Status


Transition = AlreadyDone | InFlight | Moved | MoneyNeeded | VoidHold


def act(
    deal: Deal,
    pending: Command | None,
    action: Action,
    now: datetime,
    dispute: Dispute | None = None,
) -> Transition:
    """Decide what an action does to a deal.

    Args:
        deal: the deal, locked.
        pending: its command in flight, if any.
        action: what is asked for.
        now: the present time, aware.
        dispute: what the dispute is about, with the action `dispute` alone.

    Raises:
        ActionPending: while another action's money is in flight.
        IllegalTransition: when the status does not allow the action.
    """
    if deal.status in DONE[action] and not (action is Action.DISPUTE and _differs(deal, dispute)):
        return AlreadyDone()
    if pending is not None:
        return _act_beside(deal, pending, action)
    if action not in _possible(deal.status):
        raise _illegal(deal, action)
    match action:
        case Action.DENY:
            return Moved(_to(deal, Status.DENY_PERFORMER, now))
        case Action.CANCEL:
            return Moved(_to(deal, Status.CANCELLED, now))
        case Action.EXPIRE:
            return Moved(_to(deal, Status.EXPIRED, now))
        case Action.DISPUTE:
            assert dispute is not None
            return Moved(replace(_to(deal, Status.DISPUTE, now), dispute=dispute))
        case Action.CONFIRM | Action.FUND | Action.CLOSE | Action.CLOSE_PERFORMER | Action.CLOSE_CUSTOMER:
            return _move_money(deal, action)
        case _:
            assert_never(action)


def check_won(deal: Deal, action: Action) -> None:
    """Check that the deal did not end otherwise while the action's money was in flight.

    Args:
        deal: the deal as it is once the action's command has its outcome.
        action: the action that stored the command.

    Raises:
        IllegalTransition: when cancel or expiry voided the hold of a confirmation.
    """
    if action is Action.CONFIRM and deal.status in {Status.CANCELLED, Status.EXPIRED}:
        raise _illegal(deal, action)


def _possible(status: Status) -> frozenset[Action]:
    ours: set[Action] = set()
    if status in UNFUNDED:
        ours.add(Action.EXPIRE)
    if status is Status.WAITING_FOR_PAYMENT:
        ours.add(Action.FUND)
    return frozenset(PUBLIC_ACTIONS[status]) | ours


def _act_beside(deal: Deal, pending: Command, action: Action) -> Transition:
    ends = {Action.CANCEL: Status.CANCELLED, Action.EXPIRE: Status.EXPIRED}
    if pending.movement is Movement.HOLD and action in ends:
        if pending.void_to in (None, ends[action]):
            return InFlight() if pending.void_to else VoidHold(ends[action])
    elif pending.action is action and pending.void_to is None:
        return InFlight()
    raise ActionPending(
        f"the deal is {deal.status} and its {pending.action} is still in flight; ask again soon",
        status_of_deal=deal.status.value,
        pending=pending.action.value,
        allowed_actions=[],
    )


def _illegal(deal: Deal, action: Action) -> IllegalTransition:
    allowed = [a.value for a in PUBLIC_ACTIONS[deal.status]]
    return IllegalTransition(
        f"the deal is {deal.status}; {action} is not possible, but {', '.join(allowed) or 'nothing'} is",
        status_of_deal=deal.status.value,
        allowed_actions=allowed,
    )


def _differs(deal: Deal, dispute: Dispute | None) -> bool:
    assert deal.dispute is not None
    return dispute is not None and (deal.dispute.title, deal.dispute.description) != (
        dispute.title,
        dispute.description,
    )


def _to(deal: Deal, status: Status, now: datetime) -> Deal:
    return replace(deal, status=status, version=deal.version + 1, updated_at=now)


def _move_money(deal: Deal, action: Action) -> MoneyNeeded:
    attempt, movement = deal.attempts + 1, _MOVEMENTS[action]
    command = NewCommand(action, movement, f"deal:{deal.id}:{movement}:{attempt}")
    return MoneyNeeded(replace(deal, attempts=attempt), command)


@dataclass(frozen=True, slots=True)
class Settled:
    """What the ledger's answer makes of the deal; `alarm` tells what must never have happened."""

    deal: Deal
    changed: bool
    fund_again: bool = False
    alarm: str | None = None


def settle(deal: Deal, command: Command, outcome: CommandState, now: datetime) -> Settled:
    """Turn the ledger's final answer to a pending command into the deal's new status.

    A hold that was not applied leaves the deal waiting (and asks for another look at the balance, since money
    may have come while it was in flight) or ends it, where cancel or expiry voided it. A release or refund that
    was not applied changes nothing and is an alarm.
    """
    applied = outcome is CommandState.APPLIED
    match command.action:
        case Action.CONFIRM if applied:
            return Settled(_to(deal, Status.CONFIRM_PERFORMER, now), changed=True)
        case Action.FUND if applied:
            return Settled(_to(deal, Status.CONFIRMED, now), changed=True)
        case Action.CLOSE if applied:
            return Settled(_to(deal, Status.CLOSE, now), changed=True)
        case Action.CLOSE_PERFORMER if applied:
            return Settled(_to(deal, Status.ARB_CLOSE_PERFORMER, now), changed=True)
        case Action.CLOSE_CUSTOMER if applied:
            return Settled(_to(deal, Status.ARB_CLOSE_CUSTOMER, now), changed=True)
        case Action.CONFIRM | Action.FUND:
            if command.void_to is not None:
                return Settled(_to(deal, command.void_to, now), changed=True)
            waits = deal.status is Status.WAITING_FOR_PAYMENT
            after = deal if waits else _to(deal, Status.WAITING_FOR_PAYMENT, now)
            return Settled(after, changed=not waits, fund_again=True)
        case _:
            return Settled(
                deal,
                changed=False,
                alarm=f"{command.key} of a deal that holds its price: {outcome}",
            )
