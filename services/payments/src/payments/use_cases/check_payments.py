"""check_payments: what runs every minute and finishes, payment by payment, what the scanner began.

An error in one step leaves that step undone, is reported, and everything else goes on; the next pass tries again.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from common import outbox
from common.crash import crash_point
from common.db import Connection
from common.logging import get_logger, report
from payments.db import chain, payments, sweeps
from payments.domain import events
from payments.domain.model import Payment, PaymentStatus
from payments.domain.ports import Gateway
from payments.domain.rules import next_status
from payments.use_cases.context import Payments
from payments.use_cases.post_bookings import post_bookings
from payments.use_cases.sweep_wallet import advance_sweeps, plan_sweeps

log = get_logger()

CREDIT_AFTER = timedelta(seconds=10)
"""The event credits within a second; what it missed is posted directly."""
BATCH = 100
MOST_BATCHES = 50


async def check_payments(parts: Payments, interval: timedelta) -> None:
    """Credit what was missed, sweep what is due, and finish statuses, for each gateway."""
    await _guarded("credit_missed", lambda: _credit_missed(parts))
    await _guarded("post_bookings", lambda: post_bookings(parts))
    for gateway in parts.gateways.values():
        await _sweep_and_finish(parts, gateway, interval)


async def _sweep_and_finish(parts: Payments, gateway: Gateway, interval: timedelta) -> None:
    await _guarded("plan_sweeps", lambda: plan_sweeps(parts, gateway))
    await _guarded("advance_sweeps", lambda: advance_sweeps(parts, gateway, interval * 0.9))
    await _guarded("finish_payments", lambda: finish_payments(parts, gateway))


async def _guarded(name: str, step: Callable[[], Awaitable[int]]) -> None:
    try:
        await step()
    except Exception as error:  # one step's failure must not stop the others
        log.error("check_payments.step_failed", step=name, error=repr(error))
        report(error)


async def _credit_missed(parts: Payments) -> int:
    before, credited = parts.clock.now() - CREDIT_AFTER, 0
    for _ in range(MOST_BATCHES):
        async with parts.database.transaction() as connection:
            missed = await chain.due(connection, before, BATCH)
        if not missed:
            break
        applied = await parts.accounts.credit(missed)
        crash_point("missed.credited")
        keys = [deposit.key for deposit, done in zip(missed, applied, strict=True) if done]
        async with parts.database.transaction() as connection:
            await chain.applied(connection, keys, parts.clock.now())
            await chain.refused(connection, [deposit.key for deposit in missed], parts.clock.now())
        credited += len(keys)
    return credited


async def finish_payments(parts: Payments, gateway: Gateway) -> int:
    """Give waiting payments that are done or late their final status; return how many were looked at."""
    async with parts.database.transaction() as connection:
        cursor = await chain.cursor(connection, gateway.info.network)
    if cursor is None:
        return 0
    after, looked = 0, 0
    while True:
        async with parts.database.transaction() as connection:
            ids = await payments.paid(connection, gateway.info.id, after, BATCH)
            await _finish_some(parts, connection, ids, cursor.time)
        looked += _note_finished(parts, ids)
        if len(ids) < BATCH:
            break
        after = ids[-1]
    while True:
        async with parts.database.transaction() as connection:
            ids = await payments.late(connection, gateway.info.id, cursor.time, BATCH)
            finished = await _finish_some(parts, connection, ids, cursor.time)
        looked += _note_finished(parts, ids)
        if len(ids) < BATCH or not finished:  # what another process has locked is its to finish
            return looked


def _note_finished(parts: Payments, ids: Sequence[int]) -> int:
    if ids:
        crash_point("payments.finished")
    parts.told()
    return len(ids)


async def _finish_some(parts: Payments, connection: Connection, ids: Sequence[int], chain_time: datetime) -> int:
    due = await payments.lock_waiting(connection, ids) if ids else []
    for payment in due:
        await _finish(parts, connection, payment, chain_time)
    return len(due)


async def _finish(parts: Payments, connection: Connection, payment: Payment, chain_time: datetime) -> None:
    unswept = await sweeps.unswept(connection, payment.wallet_id, payment.currency)
    status = next_status(
        payment,
        in_time=await chain.received_in_time(connection, payment),
        all_applied=await chain.all_applied(connection, payment.id),
        unswept=unswept,
        dust_below=parts.policy.sweep_thresholds[payment.currency],
        chain_time=chain_time,
    )
    if status is PaymentStatus.WAITING:
        return
    now = parts.clock.now()
    await payments.set_status(connection, payment, status, now)
    final = replace(payment, status=status, version=payment.version + 1, updated_at=now)
    await outbox.append(connection, [events.status_reached(final)])
    log.info("payment.finished", payment_id=payment.id, status=status.value)
