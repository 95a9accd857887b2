"""Post money commands to accounts and record their outcomes.

An answer that did not come leaves the command pending: the same key is posted again, with a growing pause, for
ever. A recorded outcome is final; a worker that slept meanwhile changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from common import outbox
from common.clock import Clock
from common.crash import crash_point
from common.db import Database
from common.errors import Unavailable
from common.logging import get_logger, report
from deals.db import commands as command_rows
from deals.db import deals as deal_rows
from deals.domain import events
from deals.domain.model import Command, CommandState, Deal
from deals.domain.ports import Accounts, Answer
from deals.domain.transitions import settle

log = get_logger()

LEASE = timedelta(seconds=20)
"""Longer than a call to accounts can take."""
BATCH = 100
BACKOFF_S = (0.5, 1, 2, 4, 8, 15)


class MoneyAlarm(Exception):
    """The ledger refused what the deal's status says must be possible: a person has to look."""


@dataclass(frozen=True, slots=True)
class Money:
    """What it takes to move money: the database, accounts, the clock, and whom to nudge.

    `told` is called when events were stored, `wanted` when a funding pass was asked for.
    """

    database: Database
    accounts: Accounts
    clock: Clock
    told: Callable[[], None]
    wanted: Callable[[], None]


async def settle_due_commands(money: Money) -> int:
    """Claim the commands that are due, post them in one call, record the outcomes; return how many."""
    async with money.database.transaction() as connection:
        claimed = await command_rows.claim_due(connection, money.clock.now(), LEASE, BATCH)
    if claimed:
        crash_point("commands.claimed")
        await post_commands(money, claimed)
    return len(claimed)


async def post_commands(
    money: Money, claimed: Sequence[Command], known: Mapping[int, Deal] | None = None
) -> list[Deal | None]:
    """Post leased commands; return each deal with its new status, or None where the outcome is not known.

    Args:
        known: the commands' deals by id, where the caller has them; they are read otherwise.
    """
    settled: dict[int, Deal | None] = {}
    to_post = [c for c in claimed if c.void_to is None]
    answers = await _post(money, to_post, known) if to_post else []
    answered = list(zip(to_post, answers, strict=True))
    answered += [(c, await _void(money, c)) for c in claimed if c.void_to is not None]
    crash_point("commands.answered")
    for command, answer in answered:
        settled[command.id] = None if answer is None else await record(money, command, answer)
    unknown = [command for command, answer in answered if answer is None]
    if unknown:
        await _postpone(money, unknown)
        crash_point("commands.postponed")
    return [settled[command.id] for command in claimed]


async def _post(money: Money, to_post: Sequence[Command], known: Mapping[int, Deal] | None) -> list[Answer | None]:
    if known is None:  # what is posted of a deal never changes: no locks, and an older reading is as good
        async with money.database.reading() as connection:
            known = await deal_rows.read_many(connection, [c.deal_id for c in to_post])
    try:
        return await money.accounts.post([(known[c.deal_id], c) for c in to_post])
    except Unavailable as error:
        log.warning("command.outcome_unknown", keys=[c.key for c in to_post], error=error.detail)
        return [None] * len(to_post)


async def _void(money: Money, command: Command) -> Answer | None:
    try:
        return await money.accounts.void(command)
    except Unavailable as error:
        log.warning("command.outcome_unknown", keys=[command.key], error=error.detail)
        return None


async def _postpone(money: Money, unknown: Sequence[Command]) -> None:
    tries = max(command.tries for command in unknown)
    pause = timedelta(seconds=BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
    async with money.database.transaction() as connection:
        due_at = money.clock.now() + pause
        await command_rows.postpone(connection, [c.id for c in unknown], due_at)


async def record(money: Money, command: Command, answer: Answer) -> Deal | None:
    """Record a command's outcome under the deal's lock, with the new status and its event.

    Returns:
        The deal as it is afterwards; None when there is no such deal.
    """
    now = money.clock.now()
    async with money.database.transaction() as connection:
        deal = await deal_rows.lock(connection, command.deal_id)
        current = await command_rows.lock_pending(connection, command.id)
        if deal is None or current is None:
            return deal
        settled = settle(deal, current, answer.outcome, now)
        await command_rows.finish(connection, current, answer.outcome, answer.reason, now)
        if settled.changed:
            await deal_rows.save(connection, settled.deal)
            await outbox.append(connection, [events.status_reached(settled.deal)])
        if settled.fund_again:
            await command_rows.want_funding(connection, settled.deal)
    crash_point("command.recorded")
    log.info(
        "command.settled",
        key=command.key,
        outcome=answer.outcome.value,
        reason=answer.reason,
        status=settled.deal.status.value,
    )
    _tell(money, answer.outcome, settled.alarm, fund_again=settled.fund_again)
    return settled.deal


def _tell(money: Money, outcome: CommandState, alarm: str | None, *, fund_again: bool) -> None:
    money.told()
    if fund_again:
        money.wanted()
    if alarm is not None:
        log.error("command.alarm", alarm=alarm, outcome=outcome.value)
        report(MoneyAlarm(alarm))
