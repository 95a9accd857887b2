"""Every way in which money can arrive: it has a name, its user is credited, and all books agree."""

from datetime import datetime, timedelta

import pytest

from support.cashier import Cashier, wallet
from support.chain import USDT as CONTRACT
from support.chain import SandboxNode
from support.customer import FAKE, rich, token_owner
from support.house import TRX, USDT, House
from support.waiting import eventually


@pytest.fixture
async def cashier(paying_house: House, tron_node: SandboxNode) -> Cashier:
    return Cashier(paying_house, tron_node)


async def balances(cashier: Cashier, user: int) -> tuple[str, str]:
    """Return a user's USDT and TRX."""
    house = cashier.house
    return await house.balance(user), await house.balance(user, currency="TRX")


@pytest.mark.parametrize(
    ("paid", "state", "status"),
    [(30, "exact", "success"), (12, "under", "waiting"), (42, "over", "success")],
)
async def test_a_payment_that_is_met_or_missed_is_named_and_credited(
    cashier: Cashier, paid: int, state: str, status: str
) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)

    txid = await customer.pay(wallet(payment), paid * USDT)
    await cashier.scan()
    uncredited = (await cashier.read(payment))["arrivals"]
    await cashier.house.deliver()
    await cashier.sweep()

    amount = f"{paid}.000000"
    arrival = {"txid": txid, "amount": amount, "currency": "USDT", "state": state, "credited": False}
    assert uncredited == [arrival]
    shown = await cashier.read(payment)
    assert shown["arrivals"] == [{**arrival, "credited": True}]
    assert (shown["status"], shown["received_amount"]) == (status, amount)
    assert await balances(cashier, alice) == (amount, "0.000000")
    assert await cashier.chain_balance(wallet(payment)) == 0
    await cashier.prove()


async def test_too_little_and_then_the_rest_is_a_success(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)

    for units in (10 * USDT, 20 * USDT):
        await customer.pay(wallet(payment), units)
        await cashier.credit()
    await cashier.sweep()

    assert await cashier.arrived(payment) == [("under", "10.000000", "USDT"), ("exact", "20.000000", "USDT")]
    assert (await cashier.read(payment))["status"] == "success"
    assert await balances(cashier, alice) == ("30.000000", "0.000000")
    await cashier.prove()


async def test_what_comes_after_the_time_is_late_and_credited(cashier: Cashier) -> None:
    alice = await cashier.open()
    cashier.decide(payment_lifetime=timedelta(milliseconds=50))
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)
    expires_ms = datetime.fromisoformat(payment["expires_at"]).timestamp() * 1000

    async def chain_time_ms() -> int:
        await cashier.node.mine()
        head = await cashier.node.ask("wallet/getnowblock")
        return int(head["block_header"]["raw_data"]["timestamp"])

    await eventually(chain_time_ms, lambda now: now > expires_ms)
    await customer.pay(wallet(payment), 30 * USDT)
    await cashier.credit()  # nothing has seen the payment expire yet
    await cashier.sweep()
    await customer.pay(wallet(payment), 5 * USDT)
    await cashier.credit()
    await cashier.sweep()

    assert (await cashier.read(payment))["status"] == "expired"
    assert await cashier.arrived(payment) == [("late", "30.000000", "USDT"), ("late", "5.000000", "USDT")]
    assert await balances(cashier, alice) == ("35.000000", "0.000000")
    await cashier.prove()


async def test_a_second_payment_to_one_that_is_paid_is_extra(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)

    await customer.pay(wallet(payment), 30 * USDT)
    await cashier.credit()
    await customer.pay(wallet(payment), 7 * USDT)  # paid, and not finished
    await cashier.credit()
    await cashier.sweep()
    finished = (await cashier.read(payment))["status"]
    await customer.pay(wallet(payment), 30 * USDT)
    await cashier.credit()
    await cashier.sweep()

    assert finished == "success"
    assert [state for state, _, _ in await cashier.arrived(payment)] == ["exact", "extra", "extra"]
    assert await balances(cashier, alice) == ("67.000000", "0.000000")
    assert await cashier.chain_balance(wallet(payment)) == 0
    await cashier.prove()


async def test_two_transfers_in_one_transaction_are_two_arrivals(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)

    txid = await customer.pay_many(wallet(payment), [10 * USDT, 0, 20 * USDT])
    await cashier.credit()
    await cashier.sweep()

    assert await cashier.arrived(payment) == [("under", "10.000000", "USDT"), ("exact", "20.000000", "USDT")]
    assert {a["txid"] for a in (await cashier.read(payment))["arrivals"]} == {txid}
    assert (await cashier.read(payment))["status"] == "success"
    assert await balances(cashier, alice) == ("30.000000", "0.000000")
    await cashier.prove()


async def test_a_transfer_that_somebody_else_carries_out_is_an_arrival(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer, carrier = await rich(cashier.node), await rich(cashier.node, usdt="1")

    await customer.approve(carrier.address, 30 * USDT)
    moved = (customer.address, wallet(payment), 30 * USDT)
    await carrier.call(CONTRACT, "transferFrom(address,address,uint256)", *moved)
    await cashier.credit()
    await cashier.sweep()

    assert await cashier.arrived(payment) == [("exact", "30.000000", "USDT")]
    assert await balances(cashier, alice) == ("30.000000", "0.000000")
    await cashier.prove()


async def test_a_token_that_comes_out_of_a_contract_is_an_arrival(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)

    await customer.pay_many(wallet(payment), [30 * USDT])
    await cashier.credit()
    await cashier.sweep()

    assert await cashier.arrived(payment) == [("exact", "30.000000", "USDT")]
    assert (await cashier.read(payment))["status"] == "success"
    assert await balances(cashier, alice) == ("30.000000", "0.000000")
    await cashier.prove()


@pytest.mark.parametrize("inside", [False, True], ids=["sent", "out of a contract"])
async def test_a_payment_in_trx_is_credited_and_swept(cashier: Cashier, inside: bool) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice, "25", "tron_trx")
    customer = await rich(cashier.node)
    main = cashier.gateway().main_address
    before = await cashier.chain_balance(main, "tron_trx")

    await (customer.pay_trx_inside if inside else customer.pay_trx)(wallet(payment), 25 * TRX)
    await cashier.credit()
    await cashier.sweep()

    assert "token_contract" not in payment["gateway_data"] or payment["gateway_data"]["token_contract"] is None
    assert await cashier.arrived(payment) == [("exact", "25.000000", "TRX")]
    assert (await cashier.read(payment))["status"] == "success"
    assert await balances(cashier, alice) == ("0.000000", "25.000000")
    assert await cashier.chain_balance(wallet(payment), "tron_trx") == 0
    assert await cashier.chain_balance(main, "tron_trx") == before + 25 * TRX
    assert await cashier.rows("SELECT gateway_id, step FROM sweep") == [("tron_trx", "swept")]
    await cashier.prove()


async def test_trx_that_is_dust_stays_and_the_payment_succeeds(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice, "9.999999", "tron_trx")
    customer = await rich(cashier.node)

    await customer.pay_trx(wallet(payment), 9_999_999)
    await cashier.credit()
    await cashier.sweep()
    assert await cashier.rows("SELECT 1 FROM sweep") == []
    assert (await cashier.read(payment))["status"] == "success"
    assert await cashier.chain_balance(wallet(payment), "tron_trx") == 9_999_999

    await customer.pay_trx(wallet(payment), 1)  # the last drop
    await cashier.credit()
    await cashier.sweep()

    assert await cashier.chain_balance(wallet(payment), "tron_trx") == 0
    assert await balances(cashier, alice) == ("0.000000", "10.000000")
    await cashier.prove()


async def test_trx_where_usdt_was_due_is_credited_as_trx_and_the_payment_waits(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)

    await customer.pay_trx(wallet(payment), 30 * TRX)
    await cashier.credit()
    await cashier.sweep()
    waiting = await cashier.read(payment)
    await customer.pay(wallet(payment), 30 * USDT)
    await cashier.credit()
    await cashier.sweep()

    assert (waiting["status"], waiting["received_amount"]) == ("waiting", "0.000000")
    assert await cashier.arrived(payment) == [
        ("other_currency", "30.000000", "TRX"),
        ("exact", "30.000000", "USDT"),
    ]
    assert (await cashier.read(payment))["status"] == "success"
    assert await balances(cashier, alice) == ("30.000000", "30.000000")
    await cashier.prove()


async def test_usdt_where_trx_was_due_is_credited_as_usdt_and_the_payment_waits(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice, "30", "tron_trx")
    customer = await rich(cashier.node)

    await customer.pay(wallet(payment), 30 * USDT)
    await cashier.credit()
    await cashier.sweep()

    assert (await cashier.read(payment))["status"] == "waiting"
    assert await cashier.arrived(payment) == [("other_currency", "30.000000", "USDT")]
    assert await balances(cashier, alice) == ("30.000000", "0.000000")
    assert await cashier.chain_balance(wallet(payment)) == 0
    await cashier.prove()


async def test_what_nobody_was_asked_for_is_credited_to_the_wallets_user(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)

    # The transfer is in a block before the payment that its wallet got: it can't be meant for it.
    await cashier.node.mine()
    await cashier.rows("UPDATE payment SET created_height = created_height + 1000000")
    await customer.pay(wallet(payment), 3 * USDT)
    await cashier.credit()

    assert await cashier.arrived(payment) == []
    assert await cashier.rows("SELECT arrival, payment_id FROM transfer WHERE class = 'deposit'") == [
        ("unasked", None)
    ]
    assert await balances(cashier, alice) == ("3.000000", "0.000000")
    await cashier.sweep()
    await cashier.prove()


async def test_false_tokens_and_transfers_of_nothing_are_nothing(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)

    await token_owner(cashier.node).pay(wallet(payment), 30 * USDT, FAKE)
    await customer.pay(wallet(payment), 0)
    poison = (token_owner(cashier.node).address, wallet(payment), 0)
    await customer.call(CONTRACT, "transferFrom(address,address,uint256)", *poison)
    await cashier.credit()
    await cashier.sweep()

    shown = await cashier.read(payment)
    assert (shown["arrivals"], shown["received_amount"], shown["status"]) == ([], "0.000000", "waiting")
    assert await balances(cashier, alice) == ("0.000000", "0.000000")
    assert await cashier.rows("SELECT 1 FROM transfer WHERE class <> 'funding'") == []
    await cashier.prove()


async def test_fifty_arrivals_are_shown_the_newest_last(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice, "1000")
    customer = await rich(cashier.node)

    await customer.pay_many(wallet(payment), [USDT] * 45)
    await cashier.credit()
    last = await customer.pay_many(wallet(payment), [2 * USDT] * 10)
    await cashier.credit()

    arrivals = (await cashier.read(payment))["arrivals"]
    assert [a["amount"] for a in arrivals] == ["1.000000"] * 40 + ["2.000000"] * 10
    assert arrivals[-1]["txid"] == last
    assert (await cashier.read(payment))["received_amount"] == "65.000000"
