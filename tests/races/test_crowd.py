"""Fifty users do whatever they like to one deal at once: its history stays legal and its money whole."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

from deals.use_cases.settle_commands import settle_due_commands
from support.house import USDT
from support.racing import PRICE, Case, Stage
from support.rounds import Round, pause, play, sizes

USERS = 50
ACTIONS_EACH = 2
ACTIONS = (
    "confirm",
    "deny",
    "cancel",
    "close",
    "dispute",
    "dispute/close_preformer",
    "dispute/close_performer",
    "dispute/close_customer",
)
ENDS_AS = {
    ("deny", 204): "deny_performer",
    ("cancel", 200): "cancelled",
    ("close", 200): "close",
    ("dispute/close_preformer", 200): "arb_close_performer",
    ("dispute/close_performer", 200): "arb_close_performer",
    ("dispute/close_customer", 200): "arb_close_customer",
}
"""What an answer promises for ever."""
PASSES_THROUGH = {
    ("confirm", 200): {"waiting_for_payment", "confirm_performer"},
    ("dispute", 200): {"dispute"},
}
"""What an answer promises to have happened."""

Heard = list[tuple[str, int]]


def crowd(random: Random) -> list[list[str]]:
    """Choose what each user does: in some rounds the deal is given up early, in most it is not."""
    gives_up = random.choice((0, 0, 0.2, 1))
    weights = [3, gives_up, gives_up, 1, 2, 1, 1, 2]
    return [random.choices(ACTIONS, weights, k=ACTIONS_EACH) for _ in range(USERS)]


def acting(stage: Stage, case: Case, actions: list[str]) -> Callable[[], Awaitable[Heard]]:
    """Return the racer that does these actions one after the other."""

    async def act() -> Heard:
        heard = []
        for action in actions:
            await pause()
            if action == "dispute":
                heard.append((action, await stage.dispute(case)))
            else:
                key = "arbiter" if "/" in action else "default"
                heard.append((action, await stage.act(case, action, key)))
        return heard

    return act


@sizes(5)
async def test_a_crowd_leads_a_deal_along_a_legal_path(stage: Stage, rounds: int) -> None:
    async def one(round_: Round) -> str:
        case = await stage.case(round_.random.choice((0, PRICE)))

        async def pay() -> Heard:
            await stage.credit(case.customer, PRICE)
            await stage.hear_credits(case.customer)
            await stage.fund_when_asked()
            return []

        async def work() -> Heard:
            for _ in range(5):
                await settle_due_commands(stage.house.money)
                await pause()
            return []

        users = [acting(stage, case, actions) for actions in crowd(round_.random)]
        heard = await round_.race(pay, work, work, *users)
        await stage.work()
        status = await stage.assert_agrees(replace(case, credited=case.credited + PRICE * USDT))
        path = {e["data"]["status"] for e in await stage.told("deals", f"deal:{case.deal_id}")}
        for answer in (answer for answers in heard for answer in answers):
            assert ENDS_AS.get(answer, status) == status, answer
            assert PASSES_THROUGH.get(answer, path) & path, (answer, path)
        return status

    await play(rounds, one, at_once=1)
    await stage.prove()
