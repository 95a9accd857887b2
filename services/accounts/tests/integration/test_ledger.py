"""The ledger on real PostgreSQL."""

import asyncio
from typing import Any

import asyncpg
import pytest

from accounts.use_cases.check_invariants import check_invariants
from support.house import USDT, House


def hold(key: str, user: int, deal: int, amount: int, **other: Any) -> dict[str, Any]:
    return {
        "key": key,
        "kind": "hold",
        "tenant_id": 1,
        "currency": "USDT",
        "legs": [
            {"owner": f"user:{user}", "amount": str(-amount)},
            {"owner": f"deal:{deal}", "amount": str(amount)},
        ],
        **other,
    }


async def post(house: House, *operations: dict[str, Any], caller: str = "deals") -> list[tuple[str, Any]]:
    async with house.internal(caller) as client:
        answer = await client.post("/internal/v1/operations", json={"operations": operations})
    assert answer.status_code == 200, answer.text
    return [(r["outcome"], r["reason"]) for r in answer.json()["results"]]


async def test_each_operation_of_a_batch_has_its_own_outcome(house: House) -> None:
    alice = await house.user(1)
    await house.credit(alice, 10 * USDT, "tron:a:0")
    await post(house, hold("used", alice, 1, 1 * USDT))

    outcomes = await post(
        house,
        hold("used", alice, 1, 2 * USDT),
        hold("nobody", 999, 2, 1),
        hold("twice", alice, 3, 1 * USDT),
        hold("twice", alice, 3, 1 * USDT),
        hold("overdraft", alice, 4, 100 * USDT),
        hold("good", alice, 5, 1 * USDT),
    )

    assert outcomes == [
        ("mismatch", "the key was used for another operation"),
        ("invalid", "unknown_account"),
        ("applied", None),
        ("applied", None),
        ("rejected", "insufficient_funds"),
        ("applied", None),
    ]
    assert await house.balance(alice) == "7.000000"


async def test_a_malformed_currency_leaves_its_neighbours_alone(house: House) -> None:
    alice = await house.user(1)
    await house.credit(alice, 10 * USDT, "tron:a:0")

    outcomes = await post(house, hold("odd", alice, 1, 1, currency="US\x00DT"), hold("good", alice, 2, 1))

    assert outcomes == [("invalid", "currency"), ("applied", None)]


async def test_an_unknown_user_takes_no_deal_from_its_tenant(house: House) -> None:
    alice = await house.user(1)
    await house.credit(alice, 10 * USDT, "tron:a:0")

    stranger = await post(house, hold("stranger", alice, 1, 1, tenant_id=2))
    owner = await post(house, hold("owner", alice, 1, 1))

    assert (stranger, owner) == ([("invalid", "unknown_account")], [("applied", None)])


async def test_a_rejection_is_final_even_when_money_has_come(house: House) -> None:
    alice = await house.user(1)
    assert await post(house, hold("h", alice, 1, 5)) == [("rejected", "insufficient_funds")]
    await house.credit(alice, 5, "tron:a:0")

    assert await post(house, hold("h", alice, 1, 5)) == [("rejected", "insufficient_funds")]
    assert await post(house, hold("h2", alice, 1, 5)) == [("applied", None)]


async def test_a_void_is_final_and_answers_what_came_first(house: House) -> None:
    alice = await house.user(1)
    await house.credit(alice, 9, "tron:a:0")
    await post(house, hold("deal:1:hold:1", alice, 1, 5))
    async with house.internal("deals") as client:
        late = await client.post("/internal/v1/operations/void", json={"key": "deal:1:hold:1"})
        early = await client.post("/internal/v1/operations/void", json={"key": "deal:2:hold:1"})

    assert (late.json()["outcome"], early.json()["outcome"]) == ("applied", "voided")
    assert await post(house, hold("deal:2:hold:1", alice, 2, 1)) == [("voided", None)]


@pytest.mark.parametrize(
    ("caller", "key", "status"),
    [("deals", "tron:ab:0", 422), ("deals", "deal:1:release:1", 422), ("payments", "deal:1:hold:1", 403),
     ("chat", "deal:1:hold:1", 403), ("operator", "deal:1:hold:1", 403)],
)  # fmt: skip
async def test_only_deals_voids_and_only_holds(house: House, caller: str, key: str, status: int) -> None:
    async with house.internal(caller) as client:
        answer = await client.post("/internal/v1/operations/void", json={"key": key})
    assert answer.status_code == status


async def test_a_service_posts_only_its_own_kinds(house: House) -> None:
    alice = await house.user(1)
    for caller in ("payments", "chat"):
        async with house.internal(caller) as client:
            body = {"operations": [hold("h", alice, 1, 5)]}
            answer = await client.post("/internal/v1/operations", json=body)
        assert answer.status_code == 403


async def test_internal_calls_want_a_service_credential(house: House) -> None:
    for key in ("default", "arbiter"):
        async with house.client("accounts", key) as client:
            answer = await client.get("/internal/v1/invariants")
        assert answer.status_code == 401


async def test_racing_holds_never_overdraw_and_the_ledger_proves_itself(house: House) -> None:
    users = [await house.user(n) for n in range(1, 5)]
    for n, user in enumerate(users):
        await house.credit(user, 20, f"tron:{n}:0")

    found = await asyncio.gather(
        *(
            post(house, hold(f"h{n}", users[n % 4], 100 + n, 3), hold(f"h{n}", users[n % 4], 100 + n, 3))
            for n in range(100)
        )
    )

    assert all(first == second for first, second in found)
    assert sum(first[0] == "applied" for first, _ in found) == 4 * 6
    assert {await house.balance(user) for user in users} == {"0.000002"}
    invariants = await check_invariants(house.accounts_db)
    assert invariants["ok"], invariants


async def test_the_statement_pages_newest_first(house: House) -> None:
    alice = await house.user(1)
    for n in range(5):
        await house.credit(alice, n + 1, f"tron:{n}:0")

    first = (await house.call("accounts", "GET", f"/user/{alice}/adjustments?limit=3")).json()
    cursor = first["next_cursor"]
    rest = (await house.call("accounts", "GET", f"/user/{alice}/adjustments?limit=3&cursor={cursor}")).json()

    lines = [(i["seq"], i["amount"], i["balance_after"]) for i in first["items"] + rest["items"]]
    assert lines == [
        (5, "0.000005", "0.000015"),
        (4, "0.000004", "0.000010"),
        (3, "0.000003", "0.000006"),
        (2, "0.000002", "0.000003"),
        (1, "0.000001", "0.000001"),
    ]
    assert rest["next_cursor"] is None


async def test_the_service_may_only_append_to_the_ledger(house: House) -> None:
    alice = await house.user(1)
    await house.credit(alice, 5, "tron:a:0")
    for url, error in (
        (house.databases.url("accounts"), asyncpg.InsufficientPrivilegeError),
        (house.databases.owner_url("accounts"), asyncpg.RaiseError),
    ):
        connection = await asyncpg.connect(url)
        try:
            for statement in (
                "UPDATE adjustment SET amount = amount + 1",
                "DELETE FROM adjustment",
                "TRUNCATE adjustment",
                "UPDATE operation SET outcome = 'rejected'",
            ):
                with pytest.raises(error):
                    await connection.execute(statement)
        finally:
            await connection.close()


async def test_tampering_is_named(house: House) -> None:
    alice = await house.user(1)
    await house.credit(alice, 5, "tron:a:0")
    connection = await asyncpg.connect(house.databases.owner_url("accounts"))
    try:
        await connection.execute(
            "SET session_replication_role = replica;"
            "UPDATE adjustment SET amount = 6 WHERE balance_after IS NOT NULL"
        )
    finally:
        await connection.close()

    found = await check_invariants(house.accounts_db)

    assert not found["ok"]
    (operation,) = found["violations"]["operation_is_whole"]
    (adjustment,) = found["violations"]["balance_after_runs"]
    assert (operation["key"], operation["total"]) == ("tron:a:0", "1")
    assert (adjustment["owner"], adjustment["seq"], adjustment["key"]) == (f"user:{alice}", 1, "tron:a:0")


async def test_credits_and_debits_are_told_once(house: House) -> None:
    alice = await house.user(1)
    await house.credit(alice, 5, "tron:a:0")
    await house.credit(alice, 5, "tron:a:0")
    await post(house, hold("h", alice, 1, 2))

    told = [(e["type"], e["aggregate_version"], e["data"]) for e in await house.outbox("accounts")]

    assert [t[:2] for t in told] == [("user.upserted", 1), ("balance.credited", 1), ("balance.debited", 2)]
    assert told[1][2] == {
        "user_id": alice,
        "currency": "USDT",
        "amount_units": "5",
        "balance_units": "5",
        "operation_key": "tron:a:0",
        "kind": "deposit",
    }


async def test_time_never_goes_back_while_the_sequence_of_an_account_grows(house: House) -> None:
    """A balance at a time halves on it."""
    alice, bob, rounds, batch = await house.user(1), await house.user(2), 12, 40
    await house.credit(alice, rounds * batch * USDT, "tron:a:0")

    async def one(number: int) -> None:
        users = (alice, bob) if number % 2 else (bob, alice)
        keys = [f"{number}:{place}" for place in reversed(range(batch))]  # not in the order of their writing
        await post(house, *(deposit(key, users[place % 2]) for place, key in enumerate(keys)), caller="payments")

    await asyncio.gather(*(one(number) for number in range(rounds)))

    connection = await asyncpg.connect(house.databases.owner_url("accounts"))
    try:
        steps = await connection.fetch(
            "SELECT j.seq - lag(j.seq) OVER w AS step, j.at - lag(j.at) OVER w AS passed"
            "  FROM adjustment j JOIN account a ON a.id = j.account_id WHERE a.owner LIKE 'user:%'"
            " WINDOW w AS (PARTITION BY j.account_id ORDER BY j.seq)"
        )
    finally:
        await connection.close()
    known = [row for row in steps if row["step"] is not None]
    assert len(known) == rounds * batch - 1
    assert all(row["step"] == 1 and row["passed"].total_seconds() >= 0 for row in known)


def deposit(key: str, user: int) -> dict[str, Any]:
    legs = [{"owner": "external:test", "amount": str(-USDT)}, {"owner": f"user:{user}", "amount": str(USDT)}]
    return {"key": key, "kind": "deposit", "tenant_id": 1, "currency": "USDT", "legs": legs}


async def test_an_operation_that_a_constraint_refuses_holds_up_no_other(house: House) -> None:
    alice, bob = await house.user(1), await house.user(2)
    owner = await asyncpg.connect(house.databases.owner_url("accounts"))
    try:
        await owner.execute(
            "ALTER TABLE operation ADD CONSTRAINT odd CHECK (key <> 'odd')"
        )  # as a bug of ours would
        keys = ["a", "b", "odd", "c"]
        together = await post(house, *(deposit(key, alice) for key in keys), caller="payments")
        beside = await asyncio.gather(
            *(post(house, deposit(key, bob), caller="payments") for key in ("odd", "d", "e", "f"))
        )
    finally:
        await owner.execute("ALTER TABLE operation DROP CONSTRAINT odd")
        await owner.close()

    applied, refused = ("applied", None), ("invalid", "refused_by_the_database")
    assert together == [applied, applied, refused, applied]
    assert beside == [[refused], [applied], [applied], [applied]]
    assert (await house.balance(alice), await house.balance(bob)) == ("3.000000", "3.000000")
    (later,) = await post(house, deposit("odd", alice), caller="payments")
    assert later == applied
