"""The work that runs by itself: due commands, funding passes, deadlines."""

import asyncio
from collections.abc import Awaitable, Callable

from common.runner import every
from deals.use_cases.fund_waiting_deals import fund_waiting_deals, request_all_funding
from deals.use_cases.pass_deadlines import pass_deadlines
from deals.use_cases.settle_commands import Money, settle_due_commands

COMMANDS_EVERY_S = 0.5
FUNDING_EVERY_S = 1.0
CATCH_UP_EVERY_S = 60.0
DEADLINES_EVERY_S = 1.0


def timers(money: Money, funding_wanted: asyncio.Event) -> list[Callable[[], Awaitable[None]]]:
    """Return the timers of one worker."""

    async def commands() -> None:
        while await settle_due_commands(money):
            pass

    async def funding() -> None:
        while await fund_waiting_deals(money):
            pass

    async def catch_up() -> None:
        if await request_all_funding(money.database):
            funding_wanted.set()

    async def deadlines() -> None:
        await pass_deadlines(money)

    return [
        lambda: every(COMMANDS_EVERY_S, "commands", commands),
        lambda: every(FUNDING_EVERY_S, "funding", funding, funding_wanted),
        lambda: every(CATCH_UP_EVERY_S, "catch_up", catch_up),
        lambda: every(DEADLINES_EVERY_S, "deadlines", deadlines),
    ]
