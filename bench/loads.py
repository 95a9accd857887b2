"""What is asked of the servers: each load is one unit of work, done over and over by each caller.

What enters: a job (where, how long, by how many callers). What leaves: requests. A wrong answer ends the run.
"""

import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson

from bench.client import Caller, request

BATCH = 100
HELD_DEALS_BEGIN = 10**12
"""The holds that are posted directly name deals which the service deals will never reach by itself."""


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement: a load, the port, whose credential, how many callers, for how long."""

    load: str
    port: int
    credential: str
    callers: int
    seconds: float
    tenant_id: int
    first_user: int
    users: int
    customers: int
    hot_user: int
    run: int

    def somebody(self) -> int:
        """Return one of the users."""
        return self.first_user + random.randrange(self.users)

    def customer(self) -> int:
        """Return one of the users who have money."""
        return self.first_user + 1 + random.randrange(self.customers)


Unit = Callable[[Job, Caller, "itertools.count[int]"], Awaitable[int]]
"""Does one unit of work, numbered by the counter, and returns how many operations it was."""


def _operation(job: Job, key: str, kind: str, giver: str, taker: str) -> str:
    return (
        f'{{"key":"{key}","kind":"{kind}","tenant_id":{job.tenant_id},"currency":"USDT","legs":['
        f'{{"owner":"{giver}","amount":"-1000"}},{{"owner":"{taker}","amount":"1000"}}]}}'
    )


def _deposit(job: Job, number: int, user: int) -> str:
    return _operation(job, f"bench:{job.run}:{number}", "deposit", "external:bench", f"user:{user}")


def _hold(job: Job, number: int) -> str:
    deal = HELD_DEALS_BEGIN + job.run * 10**8 + number
    return _operation(job, f"deal:{deal}:hold:1", "hold", f"user:{job.customer()}", f"deal:{deal}")


async def _post(job: Job, caller: Caller, operations: list[str]) -> int:
    body = f'{{"operations":[{",".join(operations)}]}}'
    status, answer = await caller.call(request("POST", "/internal/v1/operations", job.credential, body))
    applied = answer.count(b'"applied"')
    assert status == 200, answer
    assert applied == len(operations), answer
    return applied


async def batch_of_deposits(job: Job, caller: Caller, numbers: "itertools.count[int]") -> int:
    """Post 100 deposits, each to some user."""
    return await _post(job, caller, [_deposit(job, next(numbers), job.somebody()) for _ in range(BATCH)])


async def batch_of_holds(job: Job, caller: Caller, numbers: "itertools.count[int]") -> int:
    """Post 100 holds, each from some user into a new deal's account."""
    return await _post(job, caller, [_hold(job, next(numbers)) for _ in range(BATCH)])


async def batch_on_one_account(job: Job, caller: Caller, numbers: "itertools.count[int]") -> int:
    """Post 100 deposits to the same user."""
    return await _post(job, caller, [_deposit(job, next(numbers), job.hot_user) for _ in range(BATCH)])


async def single_posting(job: Job, caller: Caller, numbers: "itertools.count[int]") -> int:
    """Post one deposit to some user."""
    return await _post(job, caller, [_deposit(job, next(numbers), job.somebody())])


async def deal_cycle(job: Job, caller: Caller, _: "itertools.count[int]") -> int:
    """Create a deal between two users, confirm it (the price is held) and close it (the performer is paid)."""
    customer, performer = job.customer(), job.somebody()
    if customer == performer:
        performer = job.hot_user
    body = (
        '{"title":"A logo","description":"Three drafts and the source files","price":"1.5",'
        f'"customer_id":{customer},"performer_id":{performer}}}'
    )
    deal = await _public(job, caller, "POST", "/api/v1/deal/", body)
    path = f"/api/v1/deal/{deal['deal_id']}"
    confirmed = await _public(job, caller, "POST", f"{path}/confirm")
    assert confirmed["status"] == "confirm_performer", confirmed
    closed = await _public(job, caller, "POST", f"{path}/close")
    assert closed["status"] == "close", closed
    return 1


async def balance_read(job: Job, caller: Caller, _: "itertools.count[int]") -> int:
    """Read some user's balance."""
    (usdt,) = await _public(job, caller, "GET", f"/api/v1/user/{job.somebody()}/balance")
    assert usdt["currency"] == "USDT", usdt
    return 1


async def _public(job: Job, caller: Caller, method: str, path: str, body: str = "") -> Any:
    status, answer = await caller.call(request(method, path, job.credential, body))
    assert status == 200, (path, status, answer)
    return orjson.loads(answer)


LOADS: dict[str, Unit] = {
    unit.__name__: unit
    for unit in (
        batch_of_deposits,
        batch_of_holds,
        batch_on_one_account,
        single_posting,
        deal_cycle,
        balance_read,
    )
}
