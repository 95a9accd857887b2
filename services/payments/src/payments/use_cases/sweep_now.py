"""Sweep at once: plan what is due, or one wallet with its dust, and follow it to the end.

Steps are taken here and by any worker: a step is one process's by its lease. The scanner, which tells how a
transaction ended, is the worker's.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from common.errors import InvalidInput
from payments.db import overview, sweeps
from payments.db.overview import SweepState
from payments.use_cases.context import Payments
from payments.use_cases.sweep_wallet import LEASE, advance_sweeps, plan_sweep_now, plan_sweeps

LOOK_EVERY_S = 1.0
AGAIN = timedelta(seconds=2)
"""When a sweep that waits for the chain is looked at again."""

Tell = Callable[[str], None]


async def sweep_now(parts: Payments, address: str | None, timeout: timedelta, tell: Tell) -> list[SweepState]:
    """Plan and follow; return the sweeps as they are at the end or when time is up.

    Args:
        address: one wallet, whatever little it holds; None: all that owe at least the threshold.
        timeout: how long they are followed.

    Raises:
        InvalidInput: when the address is not a deposit wallet's.
    """
    ids = await _plan(parts, address)
    deadline = parts.clock.now() + timeout
    while True:
        for gateway in parts.gateways.values():
            if ids:
                await advance_sweeps(parts, gateway, AGAIN)
        async with parts.database.transaction() as connection:
            states = await overview.by_id(connection, ids)
        steps = Counter(state.step.value for state in states)
        told = ", ".join(f"{count} {step}" for step, count in sorted(steps.items())) or "nothing is due"
        tell(f"{len(states)} sweeps: {told}, {sum(s.stuck for s in states)} stuck")
        if all(state.done for state in states) or parts.clock.now() >= deadline:
            return states
        await asyncio.sleep(LOOK_EVERY_S)


async def _plan(parts: Payments, address: str | None) -> list[int]:
    ids, known = list[int](), address is None
    for gateway in parts.gateways.values():
        info = gateway.info
        if address is None:
            async with parts.database.transaction() as connection:
                await sweeps.recheck_all(connection, info)
            await plan_sweeps(parts, gateway)
        else:
            known |= await plan_sweep_now(parts, gateway, address) is not None
        async with parts.database.transaction() as connection:
            found = await overview.unfinished_ids(connection, info.network, info.currency, address)
            await overview.hasten(connection, found, parts.clock.now(), LEASE)
        ids += found
    if not known:
        raise InvalidInput(f"{address} is no deposit wallet of ours")
    return ids
