"""Sweep a wallet to the main wallet, step by step.

    planned ──► fueling, delegating ──► planned ──► transferring ──► swept
       ▲                                   │            │ failed or dead
       └──────────────── reclaiming ◄──────┴────────────┘

Each step signs one transaction and stores it before it is sent. The scanner records how it ended; until then the
same bytes are sent again. Energy that was lent is taken back after the transfer, however that ended.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from common import outbox
from common.crash import crash_point
from common.db import Connection
from common.logging import get_logger, report
from payments.db import books, outgoing, payments, sweeps
from payments.domain import events
from payments.domain.errors import ContractRefuses, SignerRefused
from payments.domain.intents import NATIVE, Collect, Delegate, Fuel, Reclaim
from payments.domain.model import Outgoing, Purpose, Signed, Step, Sweep, TxState
from payments.domain.ports import Gateway
from payments.domain.rules import LOAN_BYTES, TooDear, next_intent
from payments.use_cases.context import Payments, asset_of
from payments.use_cases.send_transaction import send, send_again

log = get_logger()

LEASE = timedelta(seconds=60)
BATCH = 200
AT_ONCE = 5
"""Sweeps that take a step at the same time: each asks the node a handful of things."""
MOST_BATCHES = 200
BACKOFF_S = (2, 5, 15, 60, 300)
SENT_AGAIN_S = 15
"""While a transaction is out it costs nothing to send it again, and its death has to be noticed."""


class SweepStuck(Exception):
    """A step of a sweep failed; it is undone and tried again."""


class Overtaken(Exception):
    """Another process, whose lease it is now, has taken the step."""


async def plan_sweeps(parts: Payments, gateway: Gateway) -> int:
    """Begin a sweep for each wallet whose credits changed and that owes enough; return how many."""
    info, planned = gateway.info, 0
    for _ in range(MOST_BATCHES):
        threshold = parts.policy.sweep_thresholds[info.currency]
        async with parts.database.transaction() as connection:
            wallets = await sweeps.take_rechecks(connection, info, BATCH)
            new = await _plan(parts, connection, gateway, wallets, threshold)
        if new:
            crash_point("sweep.planned")
        planned += new
        if len(wallets) < BATCH:
            break
    return planned


async def _plan(
    parts: Payments, connection: Connection, gateway: Gateway, wallets: Sequence[int], threshold: int
) -> int:
    return await sweeps.plan(connection, gateway.info, wallets, threshold, parts.clock.now()) if wallets else 0


async def plan_sweep_now(parts: Payments, gateway: Gateway, address: str) -> bool | None:
    """Begin a sweep of one wallet, dust too; None when it is no deposit wallet, False when nothing is due."""
    async with parts.database.transaction() as connection:
        wallet = await sweeps.wallet_at(connection, gateway.info.network, address)
        return None if wallet is None else await _plan(parts, connection, gateway, [wallet], 1) == 1


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
    async with parts.database.transaction() as connection:
        last = await outgoing.last_of_sweep(connection, sweep.id)
    if last is not None and last.state is TxState.SENT:
        await send_again(parts, gateway, last)
        return
    ended = None if last is None else (last.purpose.name, last.state)
    match sweep.step, ended:
        case Step.PLANNED, _:
            await _begin_step(parts, gateway, sweep)
        case Step.TRANSFERRING, ("transfer", TxState.SUCCEEDED):
            assert last is not None
            await _finish(parts, sweep, last)
            if sweep.lent_sun:
                await _reclaim(parts, gateway, sweep, Step.SWEPT)
        case Step.SWEPT | Step.RECLAIMING, ("reclaim", TxState.SUCCEEDED):
            assert last is not None
            await _back_to(parts, sweep, last, lent_sun=0)
        case Step.SWEPT | Step.RECLAIMING, _:
            await _reclaim(parts, gateway, sweep, sweep.step)
            if last is not None and last.purpose.name == "reclaim":  # the one before did not bring it back
                raise SweepStuck(f"the reclaim {last.txid} of sweep {sweep.id}: {last.state}")
        case _, (_, TxState.SUCCEEDED):
            assert last is not None
            if await _back_to(parts, sweep, last, lent_sun=sweep.lent_sun):
                await _begin_step(parts, gateway, sweep)
        case _, _:
            assert last is not None, "a step after `planned` has a transaction"
            await _undo(parts, gateway, sweep, last)
            raise SweepStuck(f"the {last.purpose.name} {last.txid} of sweep {sweep.id}: {last.state}")


async def _begin_step(parts: Payments, gateway: Gateway, sweep: Sweep) -> None:
    """Sign what comes next on the fuel ladder, while no other sweep of the wallet uses what is there for it."""
    async with parts.database.transaction() as connection:
        if await sweeps.other_under_way(connection, sweep):
            return
    try:
        await _sign_next(parts, gateway, sweep)
    except (ContractRefuses, SignerRefused, SweepStuck, TooDear):  # that may last: nothing stays lent meanwhile
        if sweep.lent_sun:
            await _reclaim_first(parts, gateway, sweep)
        raise


async def _sign_next(parts: Payments, gateway: Gateway, sweep: Sweep) -> None:
    intent = await _choose(parts, gateway, sweep)
    amount, lent = sweep.amount, sweep.lent_sun
    match intent:
        case Collect():
            purpose, step, amount = Purpose("transfer", sweep.address, sweep.id), Step.TRANSFERRING, intent.amount
        case Fuel():
            purpose, step = Purpose("fuel", gateway.fuel_address, sweep.id), Step.FUELING
        case Delegate(_, sun):
            if lent:  # what was lent is too little by now: there is one loan at a time
                await _reclaim_first(parts, gateway, sweep)
                return
            purpose, step, lent = Purpose("delegate", gateway.fuel_address, sweep.id), Step.DELEGATING, sun

    async def note(connection: Connection, _: Signed) -> None:
        current = await sweeps.lock(connection, sweep.id)
        await sweeps.lock_wallet(connection, sweep.wallet_id, sweep.currency)
        if current.step is not Step.PLANNED or await sweeps.other_under_way(connection, sweep):
            raise Overtaken(f"sweep {sweep.id} is {current.step.value}, or another one of its wallet is under way")
        await sweeps.set_step(connection, sweep, step, amount, parts.clock.now())
        await sweeps.set_lent(connection, sweep.id, lent)

    await send(parts, gateway, purpose, intent, note)


async def _choose(parts: Payments, gateway: Gateway, sweep: Sweep) -> Collect | Fuel | Delegate:
    """Look at the wallet and say what has to be signed next.

    Raises:
        ContractRefuses: when the token can't be moved now.
        TooDear: when it would cost more than the sweep may.
        SweepStuck: when the wallet holds nothing.
    """
    amount = await gateway.chain.balance(gateway.asset, sweep.address)
    native = next((g for g in parts.gateways.values() if _is_native_sibling(g, gateway)), None)
    ours = None
    if native is not None:
        async with parts.database.transaction() as connection:
            owed = await sweeps.unswept(connection, sweep.wallet_id, native.info.currency)
            held = await books.units_of(connection, asset_of(native), sweep.address)
            ours = held - await sweeps.left(connection, sweep.wallet_id, native.info.currency)
        if gateway.asset == NATIVE:  # what is there beyond it is fuel of ours, or not credited yet
            amount = min(amount, owed)
    if amount <= 0:
        raise SweepStuck(f"sweep {sweep.id}: {sweep.address} holds nothing, {sweep.amount} was expected")
    move = (sweep.address, gateway.main_address, amount)
    facts = await gateway.chain.facts(gateway.asset, move, gateway.fuel_address)
    left = parts.policy.sweep_fee_cap_sun - sweep.spent_sun
    if sweep.lent_sun:
        left -= LOAN_BYTES * facts.prices.byte
    ours = facts.sun if ours is None else ours
    return next_intent(sweep.wallet, gateway.asset, amount, facts, left, ours)


def _is_native_sibling(gateway: Gateway, of: Gateway) -> bool:
    return gateway.info.network == of.info.network and gateway.asset == NATIVE


async def _reclaim(parts: Payments, gateway: Gateway, sweep: Sweep, step: Step) -> None:
    """Take back what the wallet was lent."""

    async def note(connection: Connection, _: Signed) -> None:
        current = await sweeps.lock(connection, sweep.id)
        newest = await outgoing.last_of_sweep(connection, sweep.id)
        out = newest is not None and newest.purpose.name == "reclaim" and newest.state is TxState.SENT
        if current.step is not step or out or not current.lent_sun:
            raise Overtaken(f"the energy of sweep {sweep.id} is taken back already")

    purpose = Purpose("reclaim", gateway.fuel_address, sweep.id)
    await send(parts, gateway, purpose, Reclaim(sweep.wallet, sweep.lent_sun), note)


async def _reclaim_first(parts: Payments, gateway: Gateway, sweep: Sweep) -> None:
    """Take back what the wallet was lent, and plan anew then."""
    async with parts.database.transaction() as connection:
        current = await sweeps.lock(connection, sweep.id)
        if current.step is not Step.PLANNED:
            raise Overtaken(f"sweep {sweep.id} is {current.step.value} already")
        await sweeps.set_step(connection, current, Step.RECLAIMING, current.amount, parts.clock.now())
    await _reclaim(parts, gateway, sweep, Step.RECLAIMING)


async def _undo(parts: Payments, gateway: Gateway, sweep: Sweep, failed: Outgoing) -> None:
    """Go back to `planned`, by way of taking back what was lent; a loan that failed lent nothing."""
    if failed.purpose.name == "delegate":
        await _back_to(parts, sweep, failed, lent_sun=0)
    elif sweep.lent_sun and await _back_to(parts, sweep, failed, lent_sun=sweep.lent_sun, step=Step.RECLAIMING):
        await _reclaim(parts, gateway, sweep, Step.RECLAIMING)
    elif not sweep.lent_sun:
        await _back_to(parts, sweep, failed, lent_sun=0)


async def _back_to(
    parts: Payments, sweep: Sweep, last: Outgoing, *, lent_sun: int, step: Step = Step.PLANNED
) -> bool:
    """Leave the step that `last` was; False when another process went on meanwhile. What is swept stays so."""
    async with parts.database.transaction() as connection:
        current = await sweeps.lock(connection, sweep.id)
        newest = await outgoing.last_of_sweep(connection, sweep.id)
        if current.step is not sweep.step or newest is None or newest.id != last.id:
            return False
        after = Step.SWEPT if current.step is Step.SWEPT else step
        await sweeps.set_step(connection, current, after, current.amount, parts.clock.now())
        await sweeps.set_lent(connection, sweep.id, lent_sun)
    crash_point("step.undone")
    return True


async def _finish(parts: Payments, sweep: Sweep, transfer: Outgoing) -> None:
    now = parts.clock.now()
    async with parts.database.transaction() as connection:
        current = await sweeps.lock(connection, sweep.id)
        if current.step is Step.SWEPT:
            return
        await sweeps.set_step(connection, current, Step.SWEPT, current.amount, now)
        await _update_wallet(connection, current)
        await outbox.append(connection, [events.swept(current, transfer.txid, now)])
    crash_point("sweep.finished")
    parts.told()
    log.info("sweep.done", sweep_id=sweep.id, txid=transfer.txid, units=str(current.amount))


async def _update_wallet(connection: Connection, sweep: Sweep) -> None:
    left = await sweeps.lock_wallet(connection, sweep.wallet_id, sweep.currency)
    status = "transferred" if left <= 0 else "received"
    await payments.set_wallet_status(connection, sweep.wallet_id, status)
