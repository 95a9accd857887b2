"""Record the ledger's answers to money commands, with the deals' new statuses and their events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from common import outbox
from common.crash import crash_point
from common.db import CONTENDED, Database, away
from common.logging import get_logger, report
from deals.db import commands as command_rows
from deals.db import deals as deal_rows
from deals.domain import events
from deals.domain.model import Command, Deal
from deals.domain.ports import Answer
from deals.domain.transitions import Settled, settle

log = get_logger()

Answered = tuple[Command, Answer]


class MoneyAlarm(Exception):
    """The ledger refused what the deal's status says must be possible: a person has to look."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """By command, the deal as it is afterwards, and whether a funding pass was asked for."""

    deals: dict[int, Deal]
    fund_again: bool


async def record_outcomes(database: Database, answered: Sequence[Answered], now: datetime) -> Recorded:
    """Record answers in one transaction; where that fails, each by itself, so that one holds up no other.

    A command that has an outcome already keeps it: a worker that slept meanwhile changes nothing. What could not
    be recorded, since it is wrong or somebody holds its deal, is absent from the result.
    """
    try:
        return await _record(database, answered, now)
    except Exception as error:
        if away(error) and not isinstance(error, CONTENDED):
            raise
        log.error("commands.not_recorded", keys=[c.key for c, _ in answered], error=repr(error))
        report(error)
    # Not in halves: each of them would wait for the same lock.
    apart = [await record_outcomes(database, [one], now) for one in answered] if len(answered) > 1 else []
    deals = {command_id: deal for recorded in apart for command_id, deal in recorded.deals.items()}
    return Recorded(deals, any(recorded.fund_again for recorded in apart))


async def _record(database: Database, answered: Sequence[Answered], now: datetime) -> Recorded:
    settled = list[tuple[Answered, Settled]]()
    async with database.transaction() as connection:
        deals = await deal_rows.lock(connection, [command.deal_id for command, _ in answered])
        pending = await command_rows.lock_pending(connection, [command.id for command, _ in answered])
        for command, answer in answered:
            current = pending.pop(command.id, None)
            if current is not None:
                outcome = settle(deals[current.deal_id], current, answer.outcome, now)
                deals[current.deal_id] = outcome.deal
                settled.append(((current, answer), outcome))
        await command_rows.finish(connection, [one for one, _ in settled], now)
        changed = [(command, outcome.deal) for (command, _), outcome in settled if outcome.changed]
        await deal_rows.save(connection, [deal for _, deal in changed])
        told = [events.status_reached(deal, command.request_id) for command, deal in changed]
        await outbox.append(connection, told)
        again = [outcome.deal for _, outcome in settled if outcome.fund_again]
        await command_rows.want_funding(connection, again)
    crash_point("command.recorded")
    for one, outcome in settled:
        _tell(one, outcome)
    return Recorded({command.id: deals[command.deal_id] for command, _ in answered}, bool(again))


def _tell(answered: Answered, settled: Settled) -> None:
    command, answer = answered
    log.info(
        "command.settled",
        key=command.key,
        outcome=answer.outcome.value,
        reason=answer.reason,
        status=settled.deal.status.value,
        asked_by=command.request_id,
    )
    if settled.alarm is not None:
        log.error("command.alarm", alarm=settled.alarm, outcome=answer.outcome.value)
        report(MoneyAlarm(settled.alarm))
