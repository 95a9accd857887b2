"""The contract of the events: each golden example fits its schema, and so does what the services tell."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from support.house import USDT, House

FOLDER = Path(__file__).parents[2] / "contracts" / "events"
CONTRACTS: dict[str, dict[str, Any]] = {
    path.name.removesuffix(".v1.json"): json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}


def check(envelope: dict[str, Any]) -> None:
    """Raise unless the envelope fits the schema of its subject."""
    schema = CONTRACTS[envelope["type"]]["schema"]
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(envelope)


@pytest.mark.parametrize("subject", CONTRACTS)
def test_the_golden_example_fits_its_schema(subject: str) -> None:
    Draft202012Validator.check_schema(CONTRACTS[subject]["schema"])
    assert CONTRACTS[subject]["example"]["type"] == subject
    check(CONTRACTS[subject]["example"])


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
        check(envelope)
    assert {e["type"] for e in told} == {
        "user.upserted", "balance.credited", "balance.debited", "deal.created", "deal.denied",
        "deal.cancelled", "deal.confirmed", "deal.closed", "deal.waiting_for_payment", "dispute.opened",
        "dispute.closed",
    }  # fmt: skip
