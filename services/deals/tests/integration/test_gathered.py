"""Actions that come at the same time share their calls and transactions; each still ends as if it had come alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import sqlalchemy as sa

from deals.use_cases.settle_commands import settle_due_commands
from support.house import USDT, House
from support.waiting import eventually
from support.wires import At

ACTIONS = 20


@contextlib.asynccontextmanager
async def unrecordable(house: House, deal_id: int) -> AsyncIterator[None]:
    """Let the database refuse to store the outcome of one deal's command, as a bug of ours would."""
    owner = await asyncpg.connect(house.databases.owner_url("deals"), timeout=5)
    try:
        await owner.execute(
            f"ALTER TABLE money_command ADD CONSTRAINT odd CHECK (deal_id <> {deal_id} OR state = 'pending')"
        )
        yield
        await owner.execute("ALTER TABLE money_command DROP CONSTRAINT odd")
    finally:
        await owner.close()


async def status(house: House, deal_id: int) -> str:
    return str((await house.call("deals", "GET", f"/deal/{deal_id}")).json()["status"])


async def settle_later(house: House, minutes: int = 1) -> None:
    later = replace(house.money, clock=At(datetime.now(UTC) + timedelta(minutes=minutes)))
    while await settle_due_commands(later):
        pass


async def twenty_deals(house: House) -> list[int]:
    alice, bob = await house.user(1, "Alice"), await house.user(2, "Bob")
    await house.credit(alice, ACTIONS * 10 * USDT, "tron:seed:0")
    return [int((await house.deal(alice, bob, 10))["deal_id"]) for _ in range(ACTIONS)]


async def transactions(house: House) -> int:
    async with house.money.database.reading() as connection:
        query = "SELECT count(DISTINCT xmin::text) FROM money_command WHERE state <> 'pending'"
        return int(await connection.value(sa.text(query)))


async def test_one_outcome_that_cannot_be_recorded_holds_up_no_other(house: House) -> None:
    deals = await twenty_deals(house)
    odd = deals[7]

    async with unrecordable(house, odd):
        answers = await asyncio.gather(*(house.act(deal_id, "confirm") for deal_id in deals))
    found = dict(zip(deals, answers, strict=True))
    odd_answer = found.pop(odd)

    assert {(a.status_code, a.json()["status"]) for a in found.values()} == {(200, "confirm_performer")}
    assert (odd_answer.status_code, odd_answer.json()["status"]) == (202, "created")
    assert odd_answer.json()["pending"]["action"] == "confirm"
    await settle_later(house)
    again = await house.act(odd, "confirm")
    assert (again.status_code, again.json()["status"]) == (200, "confirm_performer")


async def test_a_deal_that_somebody_holds_locked_holds_up_no_other(house: House) -> None:
    deals = await twenty_deals(house)
    held = deals[7]
    house.wire.deaf = True
    answers = await asyncio.gather(*(house.act(deal_id, "confirm") for deal_id in deals))
    house.wire.deaf = False
    assert {a.status_code for a in answers} == {202}  # posted; no outcome is recorded

    owner = await asyncpg.connect(house.databases.owner_url("deals"), timeout=5)
    try:
        async with owner.transaction():
            await owner.execute(f"SELECT FROM deal WHERE id = {held} FOR UPDATE")
            await settle_later(house)  # all in one batch
            found = {deal_id: await status(house, deal_id) for deal_id in deals}
    finally:
        await owner.close()

    assert found.pop(held) == "created"
    assert set(found.values()) == {"confirm_performer"}
    await settle_later(house, minutes=2)
    assert await status(house, held) == "confirm_performer"


async def test_who_would_wait_long_behind_others_hears_that_it_is_pending(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    deal_id = (await twenty_deals(house))[0]
    monkeypatch.setattr("deals.use_cases.perform_action.ANSWER_WITHIN_S", 0.1)
    go_on, post = asyncio.Event(), house.money.poster._work

    async def slow(asked: Any) -> Any:
        await go_on.wait()
        return await post(asked)

    monkeypatch.setattr(house.money.poster, "_work", slow)
    pending = await house.act(deal_id, "confirm")
    go_on.set()
    await eventually(lambda: status(house, deal_id), lambda found: found == "confirm_performer")

    assert (pending.status_code, pending.json()["pending"]["action"]) == (202, "confirm")


async def test_actions_at_the_same_time_share_transactions(house: House) -> None:
    deals = await twenty_deals(house)

    answers = await asyncio.gather(*(house.act(deal_id, "confirm") for deal_id in deals))

    assert {a.json()["status"] for a in answers} == {"confirm_performer"}
    assert await transactions(house) < ACTIONS / 2


async def test_every_event_names_the_request_that_led_to_it(house: House) -> None:
    deals = await twenty_deals(house)
    late, gathered = deals[0], deals[1:]

    async def confirm(deal_id: int) -> httpx.Response:
        async with house.client("deals", "default") as client:
            headers = {"x-request-id": f"confirm-{deal_id}"}
            return await client.post(f"/api/v1/deal/{deal_id}/confirm", headers=headers)

    house.wire.deaf = True
    accepted = await confirm(late)
    house.wire.deaf = False
    await asyncio.gather(*(confirm(deal_id) for deal_id in gathered))
    await settle_later(house)

    confirmed = [e for e in await house.outbox("deals") if e["type"] == "deal.confirmed"]
    debited = [e for e in await house.outbox("accounts") if e["type"] == "balance.debited"]
    assert accepted.status_code == 202
    assert sorted(e["data"]["deal_id"] for e in confirmed) == deals
    for event in confirmed:
        assert event["request_id"] == f"confirm-{event['data']['deal_id']}"
    assert len(debited) == ACTIONS
    for event in debited:
        _, deal_id, _, _ = event["data"]["operation_key"].split(":")
        assert event["request_id"] == f"confirm-{deal_id}"
