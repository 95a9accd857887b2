"""Every place between two commits is a place to die: the process dies there, and no unit is lost or doubled."""

import os
import random
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from support.client import client_of
from support.crash_run import Run, Strike
from support.crashes import CrashFile, crash_points
from support.event_stories import CONSUMERS
from support.hard_stories import STORIES_OF_ALL_KINDS
from support.proofs import Chain
from support.servers import temporary_folder
from support.system import System, running_system

SAMPLE = {"payments": 2, "deals": 3, "accounts": 2, "chat": 1}
"""How many points of each service; those of payments come first, since a sweep's lease outlives its process."""
PATIENCE_S = 240.0
"""A sweep is leased for a minute, and several crashes may meet one story."""

ACTIONS = ("confirm", "close", "award", "refund")
REACHED_BY: dict[str, tuple[str, ...]] = {
    "accounts batch.committed": ("confirm", "close", "refund"),
    "accounts credit.posted": ("credit",),
    **{f"{service} dead_letter.stored": ("garble",) for service in CONSUMERS},
    **{f"{service} gap.found": ("lose",) for service in CONSUMERS},
    **{f"{service} event.handled": ("credit",) for service in CONSUMERS},
    "accounts relay.published": ("confirm",),
    "accounts user.stored": ("arrive",),
    "accounts void.committed": ("cancel_in_flight",),
    "chat messages.stored": ("talk",),
    "chat relay.published": ("talk",),
    "chat transitions.noted": ("confirm", "deny", "credit"),
    "deals action.stored": (*ACTIONS, "dispute", "deny", "cancel"),
    "deals command.recorded": (*ACTIONS, "wait", "credit"),
    "deals commands.answered": (*ACTIONS, "wait", "credit"),
    "deals commands.claimed": ("cancel_in_flight",),
    "deals commands.postponed": ("cancel_in_flight",),
    "deals deadline.passed": ("expire",),
    "deals deal.created": ("confirm",),
    "deals funding.claimed": ("credit",),
    "deals funding.passed": ("credit", "wait"),
    "deals funding.requested": ("credit",),
    "deals funding.stored": ("credit",),
    "deals relay.published": ("deny",),
    "payments applied.noted": ("credit",),
    "payments block.stored": ("credit",),
    "payments bookings.posted": ("credit",),
    "payments missed.credited": ("miss_credit",),
    "payments opening.read": ("reopen",),
    "payments outgoing.sent": ("credit", "withdraw", "stake"),
    "payments outgoing.signed": ("credit", "withdraw", "stake"),
    "payments payment.stored": ("credit",),
    "payments payments.finished": ("credit",),
    "payments relay.published": ("credit",),
    "payments rescan.stored": ("rescan",),
    "payments stake.sent": ("stake",),
    "payments step.undone": ("credit",),
    "payments sweep.claimed": ("credit",),
    "payments sweep.finished": ("credit",),
    "payments sweep.planned": ("credit",),
    "payments transaction.buried": ("bury",),
    "payments wallet.opened": ("reopen",),
    "payments withdrawal.closed": ("withdraw",),
    "payments withdrawal.held": ("withdraw",),
    "payments withdrawal.requested": ("withdraw",),
}
"""The stories that come to each point, after they have called `arm`."""


@pytest.fixture(scope="module")
def crash_file() -> Iterator[CrashFile]:
    """The file that the services of this module's system look into."""
    with temporary_folder() as folder:
        yield CrashFile(folder / "crash")


@pytest.fixture(scope="module")
def system(crash_file: CrashFile) -> Iterator[System]:
    """A whole system whose services can be told where to die."""
    with running_system({"CRASH_POINT_FILE": str(crash_file.path)}) as found:
        yield found


@pytest.fixture
async def run(system: System, crash_file: CrashFile) -> AsyncIterator[Run]:
    """A client of that system, and what it finds."""
    async with client_of(system, PATIENCE_S) as client:
        yield Run(client, crash_file, Chain(client))


def strikes() -> list[Strike]:
    """Return every point with each story that comes to it; those that must be alone come last."""
    found = [Strike(p, story) for p in crash_points() for story in REACHED_BY.get(str(p), ())]
    return sorted(found, key=_alone)


def _alone(strike: Strike) -> bool:
    return STORIES_OF_ALL_KINDS[strike.story].alone


def dice() -> random.Random:
    """Return dice by GARANT_SEED, or by a new seed, which is told."""
    seed = os.environ.get("GARANT_SEED") or str(secrets.randbelow(10**6))
    print(f"GARANT_SEED={seed}")
    return random.Random(seed)


async def strike_all(run: Run, chosen: list[Strike]) -> None:
    """Strike, tell, and fail with all that is wrong."""
    await run.strike(chosen)
    print("\n".join(run.told))
    assert run.wrong == [], "\n".join(run.wrong)
    assert run.struck == len(chosen)


def test_every_crash_point_has_a_story_that_comes_to_it() -> None:
    points = {str(point) for point in crash_points()}
    assert len(points) >= 37
    unreached, unknown = sorted(points - REACHED_BY.keys()), sorted(REACHED_BY.keys() - points)
    assert not unreached, f"REACHED_BY has no story for the crash points {unreached}"
    assert not unknown, f"REACHED_BY names crash points that are not in the sources: {unknown}"


@pytest.mark.timeout(300)
async def test_dying_at_some_crash_points_loses_and_doubles_nothing(run: Run) -> None:
    rolled = dice()
    quick = [strike for strike in strikes() if not STORIES_OF_ALL_KINDS[strike.story].slow]
    chosen: list[Strike] = []
    for service, count in SAMPLE.items():
        points = rolled.sample(sorted({s.point for s in quick if s.point.service == service}), count)
        chosen += [rolled.choice([s for s in quick if s.point == point]) for point in points]
    await strike_all(run, chosen)


@pytest.mark.deep
@pytest.mark.timeout(1800)
async def test_dying_at_every_crash_point_loses_and_doubles_nothing(run: Run) -> None:
    every = strikes()
    dice().shuffle(every)
    await strike_all(run, sorted(every, key=_alone))
