"""Sweep a wallet to the main wallet, step by step.

    planned ──► fueling ──► planned ──► transferring ──► swept
                   │ the TRX did not come      │ failed, or dead
                   └──────────► planned ◄──────┘

Each step signs one transaction and stores it before it is sent. The scanner records how it ended; until then the
same bytes are sent again. It is dead only when our own cursor has passed its expiration and no block held it.
"""

import asyncio
from datetime import timedelta

from common import outbox
from common.crash import crash_point
from common.db import Connection
from common.logging import get_logger, report
from payments.db import chain, payments, sweeps
from payments.db.sweeps import TxidTaken
from payments.domain import events
from payments.domain.intents import Collect, DepositKey, Fuel
from payments.domain.model import Outgoing, Signed, Step, Sweep, TxState
from payments.domain.ports import Gateway
from payments.domain.rules import shortage
from payments.use_cases.context import Payments

log = get_logger()

LEASE = timedelta(seconds=60)
BATCH = 200
AT_ONCE = 5
"""Sweeps that take a step at the same time: each asks the node a handful of things."""
MOST_BATCHES = 200
BACKOFF_S = (2, 5, 15, 60, 300)
SENT_AGAIN_S = 15
"""While a transaction is out it costs nothing to send it again, and its death has to be noticed."""
TIMESTAMP_TRIES = 20


class SweepStuck(Exception):
    """A step of a sweep failed; it is undone and tried again."""


class Overtaken(Exception):
    """Another process, whose lease it is now, has taken the step."""


async def plan_sweeps(parts: Payments, gateway: Gateway) -> int:
    """Begin a sweep for each wallet that owes enough; return how many."""
    info, planned = gateway.info, 0
    for _ in range(MOST_BATCHES):
        now, threshold = parts.clock.now(), parts.policy.sweep_threshold
        async with parts.database.transaction() as connection:
            new = await sweeps.plan(connection, info.id, info.currency, threshold, now, BATCH)
        if new:
            crash_point("sweep.planned")
        planned += new
        if new < BATCH:
            break
    return planned


async def advance_sweeps(parts: Payments, gateway: Gateway, again: timedelta) -> int:
    """Take each due sweep one step further; return how many were looked at.

    Args:
        again: when to look again at a sweep that waits for the chain.
    """
    looked = 0
    for _ in range(MOST_BATCHES):
        async with parts.database.transaction() as connection:
            now = parts.clock.now()
            due = await sweeps.claim_due(connection, gateway.info.id, now, LEASE, AT_ONCE)
        await asyncio.gather(*(_take_step(parts, gateway, sweep, again) for sweep in due))
        looked += len(due)
        if len(due) < AT_ONCE:
            break
    return looked


async def _take_step(parts: Payments, gateway: Gateway, sweep: Sweep, again: timedelta) -> None:
    crash_point("sweep.claimed")
    try:
        error = await _try(parts, gateway, sweep)
    except Overtaken as overtaken:
        log.info("sweep.overtaken", sweep_id=sweep.id, why=str(overtaken))
        return
    pause_s = BACKOFF_S[min(sweep.tries, len(BACKOFF_S) - 1)]
    if sweep.step is not Step.PLANNED:
        pause_s = min(pause_s, SENT_AGAIN_S)
    pause = again if error is None else timedelta(seconds=pause_s)
    async with parts.database.transaction() as connection:
        await sweeps.postpone(connection, sweep, parts.clock.now() + pause, error)


async def _try(parts: Payments, gateway: Gateway, sweep: Sweep) -> str | None:
    """Take one step; return what went wrong, which leaves the sweep as it was."""
    try:
        await _advance(parts, gateway, sweep)
    except Overtaken:
        raise
    except Exception as error:  # the step is undone and tried again, and the other sweeps go on
        log.error("sweep.step_failed", sweep_id=sweep.id, step=sweep.step.value, error=str(error))
        report(error)
        return f"{type(error).__name__}: {error}"[:500]
    return None


async def _advance(parts: Payments, gateway: Gateway, sweep: Sweep) -> None:
    if sweep.step is Step.PLANNED:
        await _begin_step(parts, gateway, sweep)
        return
    async with parts.database.transaction() as connection:
        outgoing = await sweeps.last_outgoing(connection, sweep.id)
    assert outgoing is not None, "a step after `planned` has a transaction"
    match outgoing.state:
        case TxState.SUCCEEDED if outgoing.purpose == "transfer":
            await _finish(parts, sweep, outgoing)
        case TxState.SUCCEEDED:
            if await _back_to_planned(parts, sweep, outgoing):
                await _begin_step(parts, gateway, sweep)
        case TxState.FAILED | TxState.DEAD:
            await _back_to_planned(parts, sweep, outgoing)
            raise SweepStuck(f"the {outgoing.purpose} {outgoing.txid} of sweep {sweep.id}: {outgoing.state}")
        case TxState.SENT:
            await _send_again(parts, gateway, outgoing)


async def _begin_step(parts: Payments, gateway: Gateway, sweep: Sweep) -> None:
    """Look at the wallet, then send it fuel, or its tokens to the main wallet."""
    amount = await gateway.chain.token_balance(sweep.address)
    if amount == 0:
        raise SweepStuck(f"sweep {sweep.id}: {sweep.address} holds nothing, {sweep.amount} was expected")
    fuel = await gateway.chain.fuel(sweep.address, gateway.main_address, amount)
    if fuel.needed > parts.policy.sweep_fee_cap_sun:
        raise SweepStuck(f"sweep {sweep.id} would cost {fuel.needed} sun, more than SWEEP_FEE_CAP_SUN")
    missing = shortage(fuel.needed, fuel.available)
    wallet = DepositKey(sweep.derivation_index, sweep.address)
    intent = Fuel(wallet, missing) if missing else Collect(wallet, gateway.token, amount, fuel.fee_limit)
    reference = await gateway.chain.solid_head()
    timestamp_ms = int(parts.clock.now().timestamp() * 1000)
    for later in range(TIMESTAMP_TRIES):
        moment = timestamp_ms + later
        signed = await parts.signer.sign(intent, reference, moment)
        try:
            step = Step.FUELING if missing else Step.TRANSFERRING
            await _store(parts, gateway, sweep, signed, step, amount)
            break
        except TxidTaken:  # an equal transfer of this millisecond: the timestamp tells them apart
            if later == TIMESTAMP_TRIES - 1:
                raise
    crash_point("fuel.signed" if missing else "transfer.signed")
    words = await gateway.chain.broadcast(signed.signed)
    crash_point("fuel.sent" if missing else "transfer.sent")
    log.info("sweep.sent", sweep_id=sweep.id, txid=signed.txid, fuel_sun=missing, node=words)


async def _store(parts: Payments, gateway: Gateway, sweep: Sweep, signed: Signed, step: Step, amount: int) -> None:
    now = parts.clock.now()
    purpose = "fuel" if step is Step.FUELING else "transfer"
    async with parts.database.transaction() as connection:
        current = await sweeps.lock(connection, sweep.id)
        if current.step is not Step.PLANNED:
            raise Overtaken(f"sweep {sweep.id} is {current.step.value} already")
        await sweeps.store_outgoing(connection, sweep, purpose, gateway.info.network, signed, now)
        await sweeps.set_step(connection, sweep, step, amount, now)


async def _send_again(parts: Payments, gateway: Gateway, outgoing: Outgoing) -> None:
    async with parts.database.transaction() as connection:
        cursor = await chain.cursor(connection, gateway.info.network)
        dead = cursor is not None and cursor.time >= outgoing.expires_at
        if dead:
            await sweeps.bury(connection, outgoing)
    if dead:
        crash_point("transaction.buried")
        return
    words = await gateway.chain.broadcast(outgoing.signed)
    log.debug("sweep.sent_again", txid=outgoing.txid, node=words)


async def _back_to_planned(parts: Payments, sweep: Sweep, outgoing: Outgoing) -> bool:
    """Undo the step that `outgoing` was; False when another process went on meanwhile."""
    async with parts.database.transaction() as connection:
        current = await sweeps.lock(connection, sweep.id)
        newest = await sweeps.last_outgoing(connection, sweep.id)
        if current.step is not sweep.step or newest is None or newest.id != outgoing.id:
            return False
        await sweeps.set_step(connection, current, Step.PLANNED, current.amount, parts.clock.now())
    crash_point("step.undone")
    return True


async def _finish(parts: Payments, sweep: Sweep, outgoing: Outgoing) -> None:
    now = parts.clock.now()
    async with parts.database.transaction() as connection:
        current = await sweeps.lock(connection, sweep.id)
        if current.step is Step.SWEPT:
            return
        await sweeps.set_step(connection, current, Step.SWEPT, current.amount, now)
        await _update_wallet(connection, current)
        await outbox.append(connection, [events.swept(current, outgoing.txid, now)])
    crash_point("sweep.finished")
    parts.told()
    log.info("sweep.done", sweep_id=sweep.id, txid=outgoing.txid, units=str(current.amount))


async def _update_wallet(connection: Connection, sweep: Sweep) -> None:
    left = await sweeps.lock_wallet(connection, sweep.wallet_id, sweep.currency)
    status = "transferred" if left <= 0 else "received"
    await payments.set_wallet_status(connection, sweep.wallet_id, status)
