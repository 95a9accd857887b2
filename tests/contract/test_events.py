"""The contract of the events: each golden example fits its schema, and so does what the services tell."""

import pytest
from jsonschema import Draft202012Validator

from support.contracts import EVENTS, check_event
from support.house import USDT, House


@pytest.mark.parametrize("subject", EVENTS)
def test_the_golden_example_fits_its_schema(subject: str) -> None:
    Draft202012Validator.check_schema(EVENTS[subject]["schema"])
    assert EVENTS[subject]["example"]["type"] == subject
    check_event(EVENTS[subject]["example"])


async def test_what_accounts_and_deals_tell_fits(house: House) -> None:
    alice, bob = await house.user(1, "Alice"), await house.user(2, "Bob")
    await house.credit(alice, 100 * USDT, "tron:a:0")
    for path in (["deny"], ["cancel"], ["confirm", "close"]):
        deal_id = (await house.deal(alice, bob, 10))["deal_id"]
        for step in path:
            await house.act(deal_id, step)
    for award in ("close_performer", "close_customer"):
        deal_id = (await house.deal(alice, bob, 10))["deal_id"]
        await house.act(deal_id, "confirm")
        await house.call("deals", "POST", f"/deal/{deal_id}/dispute", {"title": "t", "description": "d"})
        await house.act(deal_id, f"dispute/{award}", key="arbiter")
    deal_id = (await house.deal(alice, bob, 1000))["deal_id"]
    await house.act(deal_id, "confirm")

    told = await house.outbox("accounts") + await house.outbox("deals")

    for envelope in told:
        check_event(envelope)
    assert {e["type"] for e in told} == {
        "user.upserted", "balance.credited", "balance.debited", "deal.created", "deal.denied",
        "deal.cancelled", "deal.confirmed", "deal.closed", "deal.waiting_for_payment", "dispute.opened",
        "dispute.closed",
    }  # fmt: skip
