"""Deals over HTTP, with the real ledger behind them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.use_cases import manage_keys
from deals.use_cases.check_invariants import check_invariants
from deals.use_cases.fund_waiting_deals import fund_waiting_deals, request_all_funding
from deals.use_cases.pass_deadlines import pass_deadlines
from deals.use_cases.settle_commands import settle_due_commands
from support.house import USDT, House


async def parties(house: House, units: int = 0) -> tuple[int, int]:
    customer, performer = await house.user(1, "Alice"), await house.user(2, "Bob")
    if units:
        await house.credit(customer, units, "tron:seed:0")
    return customer, performer


async def fund(house: House) -> None:
    """Do what the worker does once a credit was told."""
    await request_all_funding(house.money.database)
    while await fund_waiting_deals(house.money):
        pass


async def status(house: House, deal_id: int) -> str:
    return str((await house.call("deals", "GET", f"/deal/{deal_id}")).json()["status"])


async def test_the_story_with_money_at_hand(house: House) -> None:
    alice, bob = await parties(house, 20 * USDT)
    deal = await house.deal(alice, bob, "12.5")

    confirmed = await house.act(deal["deal_id"], "confirm")
    held = await house.balance(alice)
    closed = await house.act(deal["deal_id"], "close")

    assert (deal["status"], deal["price"]) == ("created", "12.500000")
    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "confirm_performer")
    assert held == "7.500000"
    assert (closed.status_code, closed.json()["status"]) == (200, "close")
    assert (await house.balance(alice), await house.balance(bob)) == ("7.500000", "12.500000")
    assert [e["type"] for e in await house.outbox("deals")] == ["deal.created", "deal.confirmed", "deal.closed"]


async def test_the_story_without_money_waits_for_it(house: House) -> None:
    alice, bob = await parties(house)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]

    waiting = await house.act(deal_id, "confirm")
    await house.credit(alice, 10 * USDT, "tron:a:0")
    await fund(house)

    assert waiting.json()["status"] == "waiting_for_payment"
    assert await status(house, deal_id) == "confirmed"
    assert await house.balance(alice) == "0.000000"


@pytest.mark.parametrize(
    ("award", "status_", "alice_gets", "bob_gets"),
    [
        ("close_preformer", "arb_close_performer", "0.000000", "10.000000"),
        ("close_performer", "arb_close_performer", "0.000000", "10.000000"),
        ("close_customer", "arb_close_customer", "10.000000", "0.000000"),
    ],
)
async def test_an_arbiter_decides_a_dispute(
    house: House, award: str, status_: str, alice_gets: str, bob_gets: str
) -> None:
    alice, bob = await parties(house, 10 * USDT)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]
    await house.act(deal_id, "confirm")
    about = {"title": "Late", "description": "Two weeks"}
    opened = await house.call("deals", "POST", f"/deal/{deal_id}/dispute/", about)
    again = await house.call("deals", "POST", f"/deal/{deal_id}/dispute", about)
    closing = await house.act(deal_id, "close")
    forbidden = await house.act(deal_id, f"dispute/{award}")

    decided = await house.act(deal_id, f"dispute/{award}", key="arbiter")
    repeated = await house.act(deal_id, f"dispute/{award}", key="arbiter")

    assert (opened.status_code, opened.json()["status"]) == (200, "dispute")
    assert again.json() == opened.json()
    assert (closing.status_code, forbidden.status_code) == (409, 403)
    assert (decided.status_code, decided.json()["status"]) == (200, status_)
    assert repeated.json() == decided.json()
    assert (await house.balance(alice), await house.balance(bob)) == (alice_gets, bob_gets)


async def test_deny_is_final_and_empty(house: House) -> None:
    alice, bob = await parties(house)
    deal_id = (await house.deal(alice, bob))["deal_id"]

    first, again = await house.act(deal_id, "deny"), await house.act(deal_id, "deny")
    confirm = await house.act(deal_id, "confirm")

    assert (first.status_code, first.content, again.status_code) == (204, b"", 204)
    assert confirm.status_code == 409
    assert (confirm.json()["status_of_deal"], confirm.json()["allowed_actions"]) == ("deny_performer", [])


async def test_every_action_is_served_as_get_too(house: House) -> None:
    alice, bob = await parties(house, 10 * USDT)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]
    for path, expected in (("confirm", "confirm_performer"), ("close/", "close"), ("close", "close")):
        answer = await house.call("deals", "GET", f"/deal/{deal_id}/{path}")
        assert (answer.status_code, answer.json()["status"]) == (200, expected)


async def test_fifty_parallel_closes_pay_once(house: House) -> None:
    alice, bob = await parties(house, 10 * USDT)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]
    await house.act(deal_id, "confirm")

    answers = await asyncio.gather(*(house.act(deal_id, "close") for _ in range(50)))

    assert {a.status_code for a in answers} <= {200, 202}
    assert await status(house, deal_id) == "close"
    assert await house.balance(bob) == "10.000000"


async def test_twenty_deals_racing_for_one_balance(house: House) -> None:
    alice, bob = await parties(house, 70 * USDT)
    deals = [(await house.deal(alice, bob, 10))["deal_id"] for _ in range(20)]

    await asyncio.gather(*(house.act(deal_id, "confirm") for deal_id in deals))

    found = [await status(house, deal_id) for deal_id in deals]
    assert (found.count("confirm_performer"), found.count("waiting_for_payment")) == (7, 13)
    assert await house.balance(alice) == "0.000000"
    assert (await check_invariants(house.money.database, house.money.accounts))["ok"]


async def test_waiting_deals_are_funded_oldest_first_and_one_that_does_not_fit_is_skipped(
    house: House,
) -> None:
    alice, bob = await parties(house)
    deals = [(await house.deal(alice, bob, price))["deal_id"] for price in (30, 5, 50, 4)]
    for deal_id in deals:
        await house.act(deal_id, "confirm")

    await house.credit(alice, 39 * USDT, "tron:a:0")
    await fund(house)

    found = [await status(house, deal_id) for deal_id in deals]
    assert found == ["confirmed", "confirmed", "waiting_for_payment", "confirmed"]


@pytest.mark.parametrize("fault", ["cut", "deaf"])
async def test_a_hold_whose_answer_is_lost_finishes_by_itself(house: House, fault: str) -> None:
    alice, bob = await parties(house, 10 * USDT)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]
    setattr(house.wire, fault, True)

    accepted = await house.act(deal_id, "confirm")
    same = await house.act(deal_id, "confirm")
    other = await house.act(deal_id, "deny")
    setattr(house.wire, fault, False)
    await settle_later(house)

    assert (accepted.status_code, accepted.json()["status"]) == (202, "created")
    assert accepted.json()["pending"]["action"] == "confirm"
    assert same.status_code == 202
    assert (other.status_code, other.json()["code"]) == (409, "pending")
    assert await status(house, deal_id) == "confirm_performer"
    assert await house.balance(alice) == "0.000000"


async def settle_later(house: House) -> None:
    """Let the worker run once the pause after a failure has passed."""
    later = datetime.now(UTC) + timedelta(minutes=1)
    clocked = house.money.__class__(
        house.money.database, house.money.accounts, At(later), house.money.told, house.money.wanted
    )
    while await settle_due_commands(clocked):
        pass


class At:
    """A clock that stands still."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


@pytest.mark.parametrize(("fault", "expected"), [("cut", "cancelled"), ("deaf", "confirm_performer")])
async def test_cancel_voids_a_hold_in_flight_unless_it_was_applied(
    house: House, fault: str, expected: str
) -> None:
    alice, bob = await parties(house, 10 * USDT)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]
    setattr(house.wire, fault, True)
    await house.act(deal_id, "confirm")

    cancelling = await house.act(deal_id, "cancel")
    setattr(house.wire, fault, False)
    await settle_later(house)

    assert (cancelling.status_code, cancelling.json()["pending"]["action"]) == (202, "cancel")
    assert await status(house, deal_id) == expected
    assert await house.balance(alice) == ("10.000000" if expected == "cancelled" else "0.000000")
    assert (await check_invariants(house.money.database, house.money.accounts))["ok"]


async def test_a_credit_before_the_rejection_is_recorded_is_not_lost(house: House) -> None:
    alice, bob = await parties(house)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]
    house.wire.deaf = True
    await house.act(deal_id, "confirm")  # accounts rejected it, and nobody knows
    house.wire.deaf = False
    await house.credit(alice, 10 * USDT, "tron:a:0")

    await settle_later(house)
    while await fund_waiting_deals(house.money):
        pass

    assert await status(house, deal_id) == "confirmed"


async def test_an_unpaid_deal_past_its_deadline_expires_and_a_funded_one_is_overdue_once(house: House) -> None:
    alice, bob = await parties(house, 10 * USDT)
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    paid = (await house.deal(alice, bob, 10, deadline_at=soon))["deal_id"]
    unpaid = (await house.deal(alice, bob, 10, deadline_at=soon))["deal_id"]
    await house.act(paid, "confirm")
    await house.act(unpaid, "confirm")
    late = house.money.__class__(
        house.money.database,
        house.money.accounts,
        At(datetime.now(UTC) + timedelta(hours=2)),
        house.money.told,
        house.money.wanted,
    )

    assert (await pass_deadlines(late), await pass_deadlines(late)) == (2, 0)

    assert await status(house, unpaid) == "expired"
    funded = (await house.call("deals", "GET", f"/deal/{paid}")).json()
    assert (funded["status"], funded["overdue"]) == ("confirm_performer", True)
    told = [e["type"] for e in await house.outbox("deals")]
    assert (told.count("deal.overdue"), told.count("deal.expired")) == (1, 1)


IMPOSSIBLE_PRICES: list[Any] = [
            0, -1, "0", "-1", "0.0", "1.0000001", 1e-7, "NaN", "Infinity", "1e3", " 1", "1 ", "١", "+1", "",
            True, None, [], {}, "9" * 31, 10**40, ".5", "5.",
]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        *({"price": price} for price in IMPOSSIBLE_PRICES),
        {"customer_id": 2},
        {"customer_id": "1"},
        {"customer_id": 2**63},
        {"currency": "EUR"},
        {"currency": "usdt"},
        {"title": ""},
        {"title": "a\x00b"},
        {"title": "x" * 201},
        {"description": None},
        {"deadline_at": "2001-01-01T00:00:00Z"},
        {"deadline_at": "2030-01-01T00:00:00"},
        {"deadline_at": 5},
        {"deadline_at": "9999-12-31T23:59:59-23:59"},
        {"deadline_at": "9999-12-31T23:59:59Z"},
        {"deadline_at": "0001-01-01T00:00:00+23:59"},
        {"fee": 1},
    ],
)
async def test_a_deal_that_cannot_be_is_refused(house: House, change: dict[str, Any]) -> None:
    alice, bob = await parties(house)
    body = {"title": "t", "description": "d", "price": 1, "customer_id": alice, "performer_id": bob, **change}

    answer = await house.call("deals", "POST", "/deal/", body)

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert await house.outbox("deals") == []


@pytest.mark.parametrize("price", ["0.000001", 1, "1.50", 0.1, "999999999999.999999"])
async def test_prices_are_exact(house: House, price: Any) -> None:
    alice, bob = await parties(house)

    deal = await house.deal(alice, bob, price)

    whole, _, fraction = str(price).partition(".")
    assert deal["price"] == f"{whole}.{fraction:0<6}"


async def test_another_tenants_deal_is_not_found(house: House) -> None:
    alice, bob = await parties(house, 10 * USDT)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]
    for method, path, body in (
        ("GET", "", None),
        ("POST", "/confirm", None),
        ("GET", "/deny", None),
        ("POST", "/close", None),
        ("POST", "/cancel", None),
        ("POST", "/dispute/", {"title": "t", "description": "d"}),
        ("POST", "/dispute/close_customer", None),
        ("POST", "/chat_token", {"user_id": alice}),
    ):
        foreign = await house.call("deals", method, f"/deal/{deal_id}{path}", body, key="other")
        absent = await house.call("deals", method, f"/deal/987654{path}", body, key="arbiter")
        assert foreign.status_code == absent.status_code == 404, path
        assert foreign.json()["code"] == absent.json()["code"] == "deal_not_found"
    foreign_user = await house.user(5, key="other")
    new = {"title": "t", "description": "d", "price": 1, "customer_id": foreign_user, "performer_id": bob}
    assert (await house.call("deals", "POST", "/deal/", new)).json()["code"] == "unknown_party"
    assert await status(house, deal_id) == "created"


async def test_the_list_is_filtered_and_paged(house: House) -> None:
    alice, bob = await parties(house)
    ids = [(await house.deal(alice, bob, 1))["deal_id"] for _ in range(4)]
    await house.deal(bob, alice, 1)
    await house.act(ids[0], "deny")

    first = (await house.call("deals", "GET", f"/deal/?customer_id={alice}&limit=3")).json()
    rest = (
        await house.call("deals", "GET", f"/deal/?customer_id={alice}&limit=3&cursor={first['next_cursor']}")
    ).json()
    denied = (await house.call("deals", "GET", "/deal?status=deny_performer")).json()
    foreign = (await house.call("deals", "GET", "/deal/", key="other")).json()

    assert [d["deal_id"] for d in first["items"] + rest["items"]] == ids[::-1]
    assert [d["deal_id"] for d in denied["items"]] == [ids[0]]
    assert foreign == {"items": [], "next_cursor": None}


async def test_keys_seen_lately_work_while_accounts_is_away(house: House) -> None:
    alice, bob = await parties(house)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]
    house.wire.cut = True

    assert (await house.act(deal_id, "deny")).status_code == 204


async def test_chat_tokens_are_for_the_parties_and_the_arbiter(house: House) -> None:
    alice, bob = await parties(house)
    stranger = await house.user(3)
    deal_id = (await house.deal(alice, bob, 10))["deal_id"]
    path = f"/deal/{deal_id}/chat_token"
    house.keys["judge"] = (await manage_keys.create_key(house.accounts_db, 1, ["arbiter"]))[1]

    codes = [
        (await house.call("deals", "POST", path, {"user_id": user}, key=key)).status_code
        for user, key in (
            (alice, "default"), (bob, "default"), (stranger, "default"), (None, "default"), (None, "arbiter"),
            (None, "judge"), (alice, "judge"),
        )
    ]  # fmt: skip

    assert codes == [200, 200, 422, 403, 200, 200, 403]


async def test_chat_is_told_where_a_deal_stands_and_since_when_it_is_final(house: House) -> None:
    alice, bob = await parties(house, 10 * USDT)
    deal = await house.deal(alice, bob, 10)

    async def told() -> dict[str, Any]:
        async with house.internal("chat", "deals") as client:
            answer = await client.get(f"/internal/v1/chats/{deal['chat_id']}")
        found: dict[str, Any] = answer.json()
        return found

    stands = [await told()]
    for step in ("confirm", "close"):
        await house.act(deal["deal_id"], step)
        stands.append(await told())

    assert [(s["status"], s["version"], s["ended_at"] is None) for s in stands] == [
        ("created", 1, True),
        ("confirm_performer", 2, True),
        ("close", 3, False),
    ]
    (closed,) = [e for e in await house.outbox("deals") if e["type"] == "deal.closed"]
    assert datetime.fromisoformat(stands[-1]["ended_at"]) == datetime.fromisoformat(closed["occurred_at"])
