"""Whatever the wire between deals and accounts does, an outcome that is not known is never taken for a failure."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from support.house import USDT, House
from support.proxy import Fault, FaultProxy
from support.waiting import eventually
from support.wires import PATIENCE_S, WiredHouse

REFUSE = "refuse"
FAULTS = [*(fault for fault in Fault if fault is not Fault.PASS), REFUSE]
DISPUTE = {"title": "Late", "description": "Two weeks"}
PRICE = 10
ACTIONS = {
    "confirm": ("confirm", "deny", {"confirm_performer"}),
    "close": ("close", "dispute", {"close"}),
    "award the performer": ("dispute/close_preformer", "dispute/close_customer", {"arb_close_performer"}),
    "award the customer": ("dispute/close_customer", "dispute/close_preformer", {"arb_close_customer"}),
    "confirm and cancel": ("confirm", "deny", {"confirm_performer", "cancelled"}),
}
"""By scenario: the action whose answer is lost, another that is refused meanwhile, and how the deal may end."""


async def act(house: House, deal_id: int, action: str) -> httpx.Response:
    body = DISPUTE if action == "dispute" else None
    return await house.call("deals", "POST", f"/deal/{deal_id}/{action}", body, key="arbiter")


async def prepared(house: House, scenario: str) -> int:
    """Return a deal in the status in which the scenario begins; its customer has its price and no more."""
    number = list(ACTIONS).index(scenario)
    alice, bob = await house.user(100 + number), await house.user(200 + number)
    await house.credit(alice, PRICE * USDT, f"tron:{number}:0")
    deal_id = int((await house.deal(alice, bob, PRICE))["deal_id"])
    before = {"close": ["confirm"], "award the performer": ["confirm", "dispute"]}
    before["award the customer"] = before["award the performer"]
    for action in before.get(scenario, []):
        assert (await act(house, deal_id, action)).status_code == 200
    return deal_id


async def break_wire(wired: WiredHouse, fault: str) -> None:
    await wired.be_impatient(PATIENCE_S)
    if fault == REFUSE:
        wired.proxy.refuse()
    else:
        wired.proxy.delay_s = 3 * PATIENCE_S
        wired.proxy.set(Fault(fault))


async def play(wired: WiredHouse, scenario: str, deal_id: int) -> str:
    """Act on a broken wire: 202 with what is pending, the same again 202, another action 409 `pending`."""
    action, other, _ = ACTIONS[scenario]
    before = await wired.house.call("deals", "GET", f"/deal/{deal_id}")

    first = await act(wired.house, deal_id, action)
    again = await act(wired.house, deal_id, action)
    refused = await act(wired.house, deal_id, other)

    assert (first.status_code, first.json()["status"]) == (202, before.json()["status"]), first.text
    assert first.json()["pending"]["action"] == again.json()["pending"]["action"]
    assert again.status_code == 202
    assert (refused.status_code, refused.json()["code"]) == (409, "pending"), refused.text
    if scenario.endswith("cancel"):
        cancelling = await act(wired.house, deal_id, "cancel")
        confirming = await act(wired.house, deal_id, "confirm")
        assert (cancelling.status_code, cancelling.json()["pending"]["action"]) == (202, "cancel")
        assert (confirming.status_code, confirming.json()["code"]) == (409, "pending")
    return scenario


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_unknown_outcome_stays_pending_and_becomes_one_final_state(
    wired_house: WiredHouse, fault: str
) -> None:
    house = wired_house.house
    deals = {scenario: await prepared(house, scenario) for scenario in ACTIONS}
    await break_wire(wired_house, fault)

    await asyncio.gather(*(play(wired_house, scenario, deal_id) for scenario, deal_id in deals.items()))
    await wired_house.proxy.heal()
    await wired_house.settle_later()

    for scenario, deal_id in deals.items():
        found = (await house.call("deals", "GET", f"/deal/{deal_id}")).json()
        assert found["status"] in ACTIONS[scenario][2], scenario
        assert found["pending"] is None
        assert await paid_out(house, found) == EXPECTED[found["status"]], scenario
    await wired_house.check()


EXPECTED = {
    "confirm_performer": ("0.000000", "0.000000"),
    "cancelled": ("10.000000", "0.000000"),
    "close": ("0.000000", "10.000000"),
    "arb_close_performer": ("0.000000", "10.000000"),
    "arb_close_customer": ("10.000000", "0.000000"),
}
"""By status: what the customer, who paid in the price, and the performer have."""


async def paid_out(house: House, deal: dict[str, Any]) -> tuple[str, str]:
    return await house.balance(deal["customer_id"]), await house.balance(deal["performer_id"])


async def test_a_hold_that_arrives_after_its_void_is_never_applied(wired_house: WiredHouse) -> None:
    house, proxy = wired_house.house, wired_house.proxy
    deal_id = await prepared(house, "confirm and cancel")
    await wired_house.be_impatient(PATIENCE_S)
    proxy.delay_s = 60
    proxy.set(Fault.DELAY_REQUEST)
    await act(house, deal_id, "confirm")  # the hold is on its way and will arrive
    await proxy.heal()

    await act(house, deal_id, "cancel")
    await wired_house.settle_later()
    voided = (await house.call("deals", "GET", f"/deal/{deal_id}")).json()
    assert proxy.counts["answered"] < asked(proxy), "the hold must still be on its way"
    proxy.late.set()
    await eventually(answered(proxy), lambda count: count == asked(proxy))

    assert voided["status"] == "cancelled"
    assert await paid_out(house, voided) == ("10.000000", "0.000000")
    await wired_house.check()


def asked(proxy: FaultProxy) -> int:
    return sum(proxy.counts[fault] for fault in Fault)


def answered(proxy: FaultProxy) -> Callable[[], Awaitable[int]]:
    async def probe() -> int:
        return proxy.counts["answered"]

    return probe
