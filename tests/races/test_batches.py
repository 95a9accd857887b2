"""A batch of a hundred postings with four that cannot be: each has its own outcome and its neighbours theirs."""

import asyncio
from functools import partial
from typing import Any

from accounts.use_cases.post_operations import Ledger
from support.house import USDT, House, nothing
from support.racing import PRICE, Stage
from support.rounds import Round, play, sizes

GOOD = 96
CUSTOMERS = 8
PROCESSES = 2
Batch = list[dict[str, Any]]
Outcomes = dict[str, tuple[str, str | None]]


def hold(key: str, user: int, deal: int, units: int = PRICE) -> dict[str, Any]:
    """Return a hold as deals posts it."""
    return {
        "key": key,
        "kind": "hold",
        "tenant_id": 1,
        "currency": "USDT",
        "legs": [
            {"owner": f"user:{user}", "amount": str(-units * USDT)},
            {"owner": f"deal:{deal}", "amount": str(units * USDT)},
        ],
    }


async def post(house: House, batch: Batch) -> list[tuple[str, str, str | None]]:
    """Post a batch; return key, outcome and reason of each."""
    async with house.internal("deals") as client:
        answer = await client.post("/internal/v1/operations", json={"operations": batch})
    assert answer.status_code == 200, answer.text
    return [(r["key"], r["outcome"], r["reason"]) for r in answer.json()["results"]]


async def prepare(stage: Stage, deals: int) -> tuple[list[int], Batch, Outcomes]:
    """Return customers whose money is just enough, a batch, and what each key of it must answer.

    Args:
        deals: an id above which no deal has an account yet.
    """
    customers = [await stage.house.user(next(stage.numbers)) for _ in range(CUSTOMERS)]
    for customer in customers:
        await stage.credit(customer, PRICE * GOOD // CUSTOMERS)
    poor = await stage.house.user(next(stage.numbers))
    used = hold(f"used-{deals}", customers[0], deals + 1)
    assert [r[1] for r in await post(stage.house, [hold(f"used-{deals}", poor, deals + 1)])] == ["rejected"]
    good = [hold(f"good-{deals}-{n}", customers[n % CUSTOMERS], deals + 10 + n) for n in range(GOOD)]
    bad = [used, hold(f"nobody-{deals}", 2**62, deals + 2), good[0], hold(f"overdraft-{deals}", poor, deals + 3)]
    expected: Outcomes = {operation["key"]: ("applied", None) for operation in good}
    expected[used["key"]] = ("mismatch", "the key was used for another operation")
    expected[f"nobody-{deals}"] = ("invalid", "unknown_account")
    expected[f"overdraft-{deals}"] = ("rejected", "insufficient_funds")
    return [*customers, poor], good + bad, expected


@sizes(4)
async def test_four_postings_that_cannot_be_leave_the_other_ninety_six_alone(stage: Stage, rounds: int) -> None:
    others = [Ledger(stage.house.accounts_db, nothing) for _ in range(PROCESSES - 1)]
    ledgers = [stage.house.ledger, *others]

    async def one(round_: Round) -> None:
        deals = 10_000 + 1_000 * next(stage.numbers)
        users, batch, expected = await prepare(stage, deals)

        async def send() -> None:
            shuffled = round_.random.sample(batch, len(batch))
            stage.house.accounts.state.ledger = round_.random.choice(ledgers)
            for key, outcome, reason in await post(stage.house, shuffled):
                assert (outcome, reason) == expected[key], key

        await round_.race(*[send] * 3)
        await send()
        assert [await stage.units(user) for user in users] == [0] * len(users)
        told = await asyncio.gather(*map(partial(stage.told, "accounts"), [f"user:{u}:USDT" for u in users]))
        debits = [e["data"]["operation_key"] for events in told for e in events if e["type"] == "balance.debited"]
        assert sorted(debits) == sorted(key for key, (outcome, _) in expected.items() if outcome == "applied")

    await play(rounds, one, at_once=1)
    await stage.prove_ledger()
