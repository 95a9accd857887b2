"""Take withdrawals to their ends, step by step.

    requested ──► (awaiting_approval) ──► queued ──► sent ──► paying ──► success
        │ no money         │ cancelled      │          │ failed on the chain
        └──► rejected      └────────────────┴──────────┴──► returning ──► failed, cancelled

The money is held in the ledger first. What is signed is stored before it is sent, the same bytes are sent again,
and another transaction is signed only when the last is provably dead. Several are out at once: none waits for
another.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from common import outbox
from common.crash import crash_point
from common.db import Connection
from common.errors import Unavailable
from common.logging import get_logger, report
from payments.db import bookings, outgoing, withdrawals
from payments.domain import events
from payments.domain.errors import ContractRefuses, SignerRefused
from payments.domain.intents import NATIVE, Payout
from payments.domain.model import Outgoing, Purpose, Signed, TxState, Withdrawal, WithdrawalStatus
from payments.domain.payouts import NotYet, Promise, Purse, check_held, payout_burn
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments
from payments.use_cases.send_transaction import send, send_again

log = get_logger()

LEASE = timedelta(seconds=30)
AT_ONCE = 20
MOST_BATCHES = 100
BACKOFF_S = (1, 2, 5, 15, 60)
CROWDED_TRIES = 3
LOOK_AGAIN = timedelta(seconds=2)
"""While a transaction is out; the scanner records its end."""
TOLD = (
    WithdrawalStatus.SENT,
    WithdrawalStatus.SUCCESS,
    WithdrawalStatus.FAILED,
    WithdrawalStatus.REJECTED,
    WithdrawalStatus.CANCELLED,
)


class Overtaken(Exception):
    """Another process has taken the step."""


class Crowded(Exception):
    """Other payouts left the wallet meanwhile, so this one costs more: it is reckoned anew."""

    def __init__(self, out: list[Promise]) -> None:
        super().__init__("crowded")
        self.out = out


class LedgerRefused(Exception):
    """The ledger refused what it must not refuse: a person has to look."""


async def advance_withdrawals(parts: Payments) -> int:
    """Take each due withdrawal one step further; return how many were looked at."""
    looked = 0
    for _ in range(MOST_BATCHES):
        async with parts.database.transaction() as connection:
            due = await withdrawals.claim_due(connection, parts.clock.now(), LEASE, AT_ONCE)
        await asyncio.gather(*(_take_step(parts, found) for found in due))
        looked += len(due)
        if len(due) < AT_ONCE:
            break
    return looked


async def _take_step(parts: Payments, found: Withdrawal) -> None:
    error: str | None = None
    pause = LOOK_AGAIN
    try:
        after = await _advance(parts, found)
        if after.status is not found.status:
            pause = timedelta()
    except Overtaken as overtaken:
        log.info("withdrawal.overtaken", withdrawal_id=found.id, why=str(overtaken))
        return
    except Exception as failure:  # it stays as it was and is tried again, and the others go on
        error = f"{_code(failure)}: {failure}"[:500]
        log.error("withdrawal.step_failed", withdrawal_id=found.id, status=found.status.value, error=error)
        if not isinstance(failure, (NotYet, Unavailable)):
            report(failure)
        pause = timedelta(seconds=BACKOFF_S[min(found.tries, len(BACKOFF_S) - 1)])
    async with parts.database.transaction() as connection:
        await withdrawals.postpone(connection, found.id, parts.clock.now() + pause, error)


def _code(failure: Exception) -> str:
    """Return what callers are told of a failure; the text is for the operator."""
    match failure:
        case NotYet():
            return failure.code
        case ContractRefuses() | SignerRefused() | Unavailable():
            return failure.code
        case _:
            return "internal"


async def _advance(parts: Payments, found: Withdrawal) -> Withdrawal:
    match found.status:
        case WithdrawalStatus.REQUESTED:
            return await hold(parts, found)
        case WithdrawalStatus.QUEUED:
            return await _pay_out(parts, found)
        case WithdrawalStatus.SENT:
            return await _follow(parts, found)
        case WithdrawalStatus.PAYING:
            return await _close(parts, found, "payout", WithdrawalStatus.SUCCESS)
        case WithdrawalStatus.RETURNING:
            assert found.ends_as is not None, "the table says so"
            return await _close(parts, found, "return", found.ends_as)
        case _:
            return found


async def hold(parts: Payments, found: Withdrawal) -> Withdrawal:
    """Hold the money in the ledger; return the withdrawal as it is then.

    Raises:
        Unavailable: when the ledger does not answer; the same again finds out.
        LedgerRefused: when it refuses for another reason than the balance.
    """
    hold_it = found.booking("hold", f"user:{found.user_id}", f"withdrawal:{found.id}")
    ((outcome, reason),) = await parts.accounts.book([hold_it])
    crash_point("withdrawal.held")
    if outcome == "applied":
        waits = found.needs_approval and found.approved_by is None
        status = WithdrawalStatus.AWAITING_APPROVAL if waits else WithdrawalStatus.QUEUED
        return await _move(parts, found, status)
    if outcome == "rejected" and reason == "insufficient_funds":
        return await _move(parts, found, WithdrawalStatus.REJECTED, "insufficient_funds")
    raise LedgerRefused(f"{hold_it.key}: {outcome} ({reason})")


async def _move(
    parts: Payments,
    found: Withdrawal,
    status: WithdrawalStatus,
    reason: str | None = None,
    ends_as: WithdrawalStatus | None = None,
) -> Withdrawal:
    """Move a withdrawal on, unless another process did; tell what is told."""
    async with parts.database.transaction() as connection:
        current = await withdrawals.lock(connection, found.id)
        if current.status is not found.status:
            return current
        moved = await _save(connection, parts, current, status, reason, ends_as)
    parts.told()
    return moved


async def _save(
    connection: Connection,
    parts: Payments,
    current: Withdrawal,
    status: WithdrawalStatus,
    reason: str | None = None,
    ends_as: WithdrawalStatus | None = None,
) -> Withdrawal:
    moved = replace(
        current,
        status=status,
        reason=reason or current.reason,
        ends_as=ends_as or current.ends_as,
        version=current.version + (status in TOLD),
        updated_at=parts.clock.now(),
    )
    await withdrawals.save(connection, moved)
    if status in TOLD:
        await outbox.append(connection, [events.withdrawal_reached(moved)])
    log.info("withdrawal.moved", withdrawal_id=moved.id, status=status.value, reason=moved.reason)
    return moved


async def _pay_out(parts: Payments, found: Withdrawal) -> Withdrawal:
    """Sign and send, once the main wallet can pay; also what is signed anew because its transaction died.

    Whatever is out of that wallet already is counted, whichever gateway sends it, and counted again under the
    wallet's lock before the transaction is stored: payouts that are due together don't spend the same money.
    """
    gateway = parts.gateways[found.gateway_id]
    main = gateway.main_address
    async with parts.database.transaction() as connection:  # before the balances: what ends meanwhile counts twice
        before = await _promised(connection, parts, main, found)
    held = await gateway.chain.balance(gateway.asset, main)
    check_held(held, gateway.asset, found.amount, before)
    facts = await gateway.chain.facts(gateway.asset, (main, found.address, found.amount), main)
    purse = Purse(held, facts, parts.policy.sweep_fee_cap_sun)
    for _ in range(CROWDED_TRIES):
        try:
            return await _pay_from(parts, gateway, found, purse, before)
        except Crowded as crowded:
            before = crowded.out
    raise NotYet("crowded", "other payouts leave the main wallet all the time")


async def _pay_from(
    parts: Payments, gateway: Gateway, found: Withdrawal, purse: Purse, before: Sequence[Promise]
) -> Withdrawal:
    main, facts = gateway.main_address, purse.facts
    burn = payout_burn(purse, gateway.asset, found.amount, before)

    async def note(connection: Connection, signed: Signed) -> None:
        await withdrawals.lock_wallet(connection, main)
        known = {p.withdrawal_id: p for p in (*before, *await _promised(connection, parts, main, found))}
        out = list(known.values())
        if payout_burn(purse, gateway.asset, found.amount, out) > burn:
            raise Crowded(out)
        current = await withdrawals.lock(connection, found.id)
        newest = await outgoing.last_of_withdrawal(connection, found.id)
        alive = newest is not None and newest.state is not TxState.DEAD
        if current.status is not found.status or alive:
            raise Overtaken(f"withdrawal {found.id} is {current.status.value} already")
        if current.status is WithdrawalStatus.QUEUED:
            told = replace(current, txid=signed.txid)
            await _save(connection, parts, told, WithdrawalStatus.SENT)

    intent = Payout(found.id, gateway.asset, found.address, found.amount, facts.fee_limit)
    purpose = Purpose("payout", main, withdrawal_id=found.id, promised_sun=burn)
    await send(parts, gateway, purpose, intent, note)
    parts.told()
    return replace(found, status=WithdrawalStatus.SENT)


async def _promised(connection: Connection, parts: Payments, main: str, found: Withdrawal) -> list[Promise]:
    out = await withdrawals.promised(connection, main, found.id)
    # Of a gateway that is not configured any more the asset is unknown: as TRX it is spared in any case.
    assets = {gateway.info.id: gateway.asset for gateway in parts.gateways.values()}
    return [Promise(number, assets.get(gateway, NATIVE), amount, burn) for number, gateway, amount, burn in out]


async def _follow(parts: Payments, found: Withdrawal) -> Withdrawal:
    """Look what became of the transaction."""
    gateway = parts.gateways[found.gateway_id]
    async with parts.database.transaction() as connection:
        last = await outgoing.last_of_withdrawal(connection, found.id)
    assert last is not None, "what was sent is stored"
    match last.state:
        case TxState.SENT:
            dead = await send_again(parts, gateway, last)
            return await _pay_out(parts, found) if dead else found
        case TxState.DEAD:
            return await _pay_out(parts, found)
        case TxState.SUCCEEDED:
            return await _succeed(parts, found, last)
        case TxState.FAILED:
            reason = f"the transaction {last.txid} failed on the chain"
            return await _move(parts, found, WithdrawalStatus.RETURNING, reason, WithdrawalStatus.FAILED)


async def _succeed(parts: Payments, found: Withdrawal, last: Outgoing) -> Withdrawal:
    async with parts.database.transaction() as connection:
        current = await withdrawals.lock(connection, found.id)
        if current.status is not WithdrawalStatus.SENT:
            return current
        outside = f"external:{found.gateway_id}"
        payout = found.booking("payout", f"withdrawal:{found.id}", outside)
        await bookings.insert(connection, payout, parts.clock.now())
        moved = await _save(connection, parts, current, WithdrawalStatus.PAYING)
    log.info("withdrawal.paid", withdrawal_id=found.id, txid=last.txid)
    return moved


async def _close(parts: Payments, found: Withdrawal, step: str, end: WithdrawalStatus) -> Withdrawal:
    """Empty the withdrawal's account in the ledger, and be at the end."""
    taker = f"external:{found.gateway_id}" if step == "payout" else f"user:{found.user_id}"
    booking = found.booking(step, f"withdrawal:{found.id}", taker)
    ((outcome, reason),) = await parts.accounts.book([booking])
    crash_point("withdrawal.closed")
    if outcome != "applied":
        raise LedgerRefused(f"{booking.key}: {outcome} ({reason})")
    async with parts.database.transaction() as connection:
        current = await withdrawals.lock(connection, found.id)
        if current.status is not found.status:
            return current
        await bookings.applied(connection, [booking.key], parts.clock.now())
        moved = await _save(connection, parts, current, end)
    parts.told()
    return moved
