"""Post money commands to accounts and record their outcomes.

An answer that did not come leaves the command pending: the same key is posted again, with a growing pause, for
ever. A recorded outcome is final; a worker that slept meanwhile changes nothing.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from common.clock import Clock
from common.crash import crash_point
from common.db import Database
from common.errors import Unavailable
from common.gather import Gatherer
from common.logging import get_logger, report
from deals.db import commands as command_rows
from deals.db import deals as deal_rows
from deals.domain.model import Command, Deal
from deals.domain.ports import Accounts, Answer
from deals.use_cases.record_outcomes import record_outcomes

log = get_logger()

LEASE = timedelta(seconds=20)
"""Longer than a call to accounts takes. What waits longer is posted by a worker as well, with one effect."""
BATCH = 100
VOIDS_AT_ONCE = 10
CALLS_AT_ONCE = 10
"""One, as long as accounts is quick: a call that hangs does not hold up the others."""
BACKOFF_S = (0.5, 1, 2, 4, 8, 15)


@dataclass(slots=True)
class Money:
    """What it takes to move money: the database, accounts, the clock, and whom to nudge.

    `told` is called when events were stored, `wanted` when a funding pass was asked for. Commands that are to be
    posted at the same time are gathered by `poster`.
    """

    database: Database
    accounts: Accounts
    clock: Clock
    told: Callable[[], None]
    wanted: Callable[[], None]
    poster: Gatherer[tuple[Deal, Command], Deal | None] = field(init=False)

    def __post_init__(self) -> None:
        """Gather for these very parts."""
        self.poster = Gatherer(partial(_post, self), BATCH, CALLS_AT_ONCE)


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
    to_post = [c for c in claimed if c.void_to is None]
    to_void = [c for c in claimed if c.void_to is not None]
    if (
        to_post and known is None
    ):  # what is posted of a deal never changes: no locks, and an older reading is as good
        async with money.database.reading() as connection:
            known = await deal_rows.read_many(connection, [c.deal_id for c in to_post])
    room = asyncio.Semaphore(VOIDS_AT_ONCE)
    done = await asyncio.gather(
        money.poster.ask([((known or {})[c.deal_id], c) for c in to_post]),
        *(_void(money, c, room) for c in to_void),
        return_exceptions=True,  # voids go on without the posts, and the other way round
    )
    settled = dict[int, Deal | None]()
    for commands, result in zip([to_post, *([c] for c in to_void)], done, strict=True):
        if isinstance(result, BaseException):
            raise result
        settled |= {command.id: deal for command, deal in zip(commands, result, strict=True)}
    return [settled[command.id] for command in claimed]


async def _post(money: Money, postings: Sequence[tuple[Deal, Command]]) -> list[Deal | None]:
    """Post what was gathered in one call and record it in one transaction."""
    commands = [command for _, command in postings]
    answers = await _answers(money, postings)
    return await _record(money, list(zip(commands, answers, strict=True)))


async def _answers(money: Money, postings: Sequence[tuple[Deal, Command]]) -> list[Answer | None]:
    """Ask the ledger; where it refuses the call itself, which is a bug, in halves: one holds up no other."""
    try:
        return await money.accounts.post(postings)
    except Unavailable as error:
        log.warning("command.outcome_unknown", keys=[c.key for _, c in postings], error=error.detail)
        return [None] * len(postings)
    except Exception as error:
        log.error("commands.call_refused", keys=[c.key for _, c in postings], error=repr(error))
        report(error)
    if len(postings) == 1:
        return [None]
    half = len(postings) // 2
    return [*await _answers(money, postings[:half]), *await _answers(money, postings[half:])]


async def _void(money: Money, command: Command, room: asyncio.Semaphore) -> list[Deal | None]:
    answer: Answer | None
    async with room:
        try:
            answer = await money.accounts.void(command)
        except Unavailable as error:
            log.warning("command.outcome_unknown", keys=[command.key], error=error.detail)
            answer = None
        return await _record(money, [(command, answer)])


async def _record(money: Money, answered: Sequence[tuple[Command, Answer | None]]) -> list[Deal | None]:
    """Record what is known, and let the rest be tried again later; return each command's deal, if it is known."""
    crash_point("commands.answered")
    settled: dict[int, Deal | None] = {command.id: None for command, _ in answered}
    final = [(command, answer) for command, answer in answered if answer is not None]
    if final:
        recorded = await record_outcomes(money.database, final, money.clock.now())
        settled |= recorded.deals
        money.told()
        if recorded.fund_again:
            money.wanted()
    unknown = [command for command, _ in answered if settled[command.id] is None]
    if unknown:
        await _postpone(money, unknown)
        crash_point("commands.postponed")
    return [settled[command.id] for command, _ in answered]


async def _postpone(money: Money, unknown: Sequence[Command]) -> None:
    now = money.clock.now()
    due = [(c, now + timedelta(seconds=BACKOFF_S[min(c.tries, len(BACKOFF_S) - 1)])) for c in unknown]
    async with money.database.transaction() as connection:
        await command_rows.postpone(connection, due)
