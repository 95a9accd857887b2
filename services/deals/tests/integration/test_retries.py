"""Retries from outside: `Idempotency-Key` on every POST, and what a deal tells of its money."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from common.idempotency import Retry, begin
from deals.use_cases.fund_waiting_deals import fund_waiting_deals, request_all_funding
from deals.use_cases.settle_commands import settle_due_commands
from support.house import USDT, House


async def post(
    house: House, path: str, body: Any, idempotency_key: str, *, service: str = "deals", key: str = "default"
) -> httpx.Response:
    async with house.client(service, key) as client:
        headers = {"Idempotency-Key": idempotency_key}
        return await client.post(f"/api/v1{path}", json=body, headers=headers)


async def parties(house: House, units: int = 0) -> tuple[int, int]:
    customer, performer = await house.user(1, "Alice"), await house.user(2, "Bob")
    if units:
        await house.credit(customer, units, "tron:seed:0")
    return customer, performer


def logo(customer: int, performer: int, price: Any = "10") -> dict[str, Any]:
    return {
        "title": "A logo",
        "description": "Three drafts",
        "price": price,
        "customer_id": customer,
        "performer_id": performer,
    }


async def test_the_same_call_gets_the_first_answer_and_makes_one_deal(house: House) -> None:
    body = logo(*await parties(house))

    first = await post(house, "/deal/", body, "k-1")
    await house.act(first.json()["deal_id"], "deny")
    again = await post(house, "/deal", dict(reversed(body.items())), "k-1")

    assert first.status_code == again.status_code == 200
    assert again.json() == first.json()
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert len((await house.call("deals", "GET", "/deal/")).json()["items"]) == 1


async def test_the_key_with_another_request_is_refused(house: House) -> None:
    alice, bob = await parties(house)
    deal = (await post(house, "/deal/", logo(alice, bob), "k-1")).json()["deal_id"]

    other_body = await post(house, "/deal/", logo(alice, bob, "11"), "k-1")
    other_path = await post(house, f"/deal/{deal}/deny", None, "k-1")

    for answer in (other_body, other_path):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert (await house.call("deals", "GET", f"/deal/{deal}")).json()["status"] == "created"


async def test_a_key_belongs_to_its_tenant(house: House) -> None:
    await house.user(9, key="other")
    body = {"name": "Alice", "external_id": 1}

    ours = await post(house, "/user/", body, "k-1", service="accounts")
    theirs = await post(house, "/user/", body | {"name": "Mallory"}, "k-1", service="accounts", key="other")

    assert ours.status_code == theirs.status_code == 200
    assert ours.json()["id"] != theirs.json()["id"]


async def test_a_repeated_upsert_does_not_undo_a_later_one(house: House) -> None:
    body = {"name": "Alice", "external_id": 1}
    first = await post(house, "/user/", body, "k-1", service="accounts")
    renamed = await house.call("accounts", "POST", "/user/", body | {"name": "Alicia"})

    again = await post(house, "/user/", body, "k-1", service="accounts")

    assert again.json() == first.json()
    found = await house.call("accounts", "GET", f"/user/{first.json()['id']}")
    assert found.json() == renamed.json()


async def test_a_call_whose_key_is_held_by_another_is_409(house: House) -> None:
    body = logo(*await parties(house))
    with contextlib.suppress(ZeroDivisionError):
        async with house.money.database.transaction() as connection:
            await begin(connection, 1, Retry("k-1", b"x"))
            answer = await post(house, "/deal/", body, "k-1")
            raise ZeroDivisionError  # the first call fails, and takes its note of the key with it
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_in_flight")
    assert (await post(house, "/deal/", body, "k-1")).status_code == 200


async def test_fifty_equal_calls_at_once_make_one_deal(house: House) -> None:
    body = logo(*await parties(house))

    answers = await asyncio.gather(*(post(house, "/deal/", body, "k-1") for _ in range(50)))

    assert {a.status_code for a in answers} <= {200, 409}
    assert len({a.json()["deal_id"] for a in answers if a.status_code == 200}) == 1
    assert len((await house.call("deals", "GET", "/deal/")).json()["items"]) == 1


async def test_an_answer_that_was_lost_is_told_again_after_the_deal_went_on(house: House) -> None:
    alice, bob = await parties(house)
    deal = (await house.deal(alice, bob, 10))["deal_id"]

    waiting = await post(house, f"/deal/{deal}/confirm", None, "k-1")
    await house.credit(alice, 10 * USDT, "tron:a:0")
    await request_all_funding(house.money.database)
    while await fund_waiting_deals(house.money):
        pass
    again = await post(house, f"/deal/{deal}/confirm", None, "k-1")
    now = await house.act(deal, "confirm")

    assert waiting.json()["status"] == again.json()["status"] == "waiting_for_payment"
    assert now.json()["status"] == "confirmed"


async def test_while_money_is_in_flight_a_retry_is_shown_the_present_state(house: House) -> None:
    alice, bob = await parties(house, 10 * USDT)
    deal = (await house.deal(alice, bob, 10))["deal_id"]
    house.wire.deaf = True

    accepted = await post(house, f"/deal/{deal}/confirm", None, "k-1")
    again = await post(house, f"/deal/{deal}/confirm", None, "k-1")
    house.wire.deaf = False
    async with house.money.database.transaction() as connection:
        await connection.execute(text("UPDATE money_command SET due_at = now()"))
    await settle_due_commands(house.money)
    settled = await post(house, f"/deal/{deal}/confirm", None, "k-1")
    kept = await post(house, f"/deal/{deal}/confirm", None, "k-1")

    assert (accepted.status_code, again.status_code) == (202, 202)
    assert again.json()["pending"]["action"] == "confirm"
    assert (settled.status_code, settled.json()["status"]) == (200, "confirm_performer")
    assert kept.json() == settled.json()
    assert await house.balance(alice) == "0.000000"


async def test_a_refusal_is_not_kept(house: House) -> None:
    alice, bob = await parties(house, 10 * USDT)
    deal = (await house.deal(alice, bob, 10))["deal_id"]

    too_early = await post(house, f"/deal/{deal}/close", None, "k-1")
    await house.act(deal, "confirm")
    closed = await post(house, f"/deal/{deal}/close", None, "k-1")

    assert too_early.status_code == 409
    assert (closed.status_code, closed.json()["status"]) == (200, "close")


async def test_an_empty_answer_is_told_again_empty(house: House) -> None:
    alice, bob = await parties(house)
    deal = (await house.deal(alice, bob, 10))["deal_id"]

    answers = [await post(house, f"/deal/{deal}/deny", None, "k-1") for _ in range(2)]

    assert [(a.status_code, a.content) for a in answers] == [(204, b"")] * 2


async def test_a_token_is_issued_anew_and_never_stored(house: House) -> None:
    alice, bob = await parties(house)
    deal = (await house.deal(alice, bob, 10))["deal_id"]
    path, body = f"/deal/{deal}/chat_token", {"user_id": alice}

    answers = [await post(house, path, body, "k-1") for _ in range(2)]
    other = await post(house, path, {"user_id": bob}, "k-1")

    assert [a.status_code for a in answers] == [200, 200]
    assert other.json()["code"] == "idempotency_key_reused"
    async with house.money.database.transaction() as connection:
        assert await connection.value(text("SELECT answer FROM idempotency_key")) is None


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "tab\there"])
async def test_a_key_that_cannot_be_is_refused(house: House, key: str) -> None:
    answer = await post(house, "/deal/", logo(*await parties(house)), key)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_a_waiting_deal_tells_what_is_missing(house: House) -> None:
    alice, bob = await parties(house, 4 * USDT)
    deal = await house.deal(alice, bob, 10)
    waiting = await house.act(deal["deal_id"], "confirm")
    await house.credit(alice, 1 * USDT, "tron:a:0")
    path = f"/deal/{deal['deal_id']}"

    read = (await house.call("deals", "GET", path)).json()
    (listed,) = (await house.call("deals", "GET", "/deal/")).json()["items"]
    house.wire.cut = True
    unknown = (await house.call("deals", "GET", path)).json()

    assert (deal["amount_missing"], waiting.json()["amount_missing"]) == ("0.000000", "6.000000")
    assert read["amount_missing"] == listed["amount_missing"] == "5.000000"
    assert unknown["amount_missing"] is None
