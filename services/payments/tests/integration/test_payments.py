"""Payments on real PostgreSQL and the sandbox node, with the real ledger behind them."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from tronpy import AsyncTron
from tronpy.keys import PrivateKey, to_raw_address
from tronpy.providers import AsyncHTTPProvider

from payments.domain.errors import NodeLied
from payments.domain.model import Step
from payments.use_cases import check_payments as checks
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.check_payments import check_payments
from payments.use_cases.scan_chain import scan_chain
from support.cashier import gateway_of, parts_of, rows, wallet
from support.chain import USDT as CONTRACT
from support.chain import SandboxNode, address_of, new_key
from support.contracts import check_event
from support.house import USDT, House
from support.waiting import eventually
from tron_sandbox.addresses import to_base58
from tron_sandbox.evm import FAKE_USDT, PAYOUT

AT_ONCE = timedelta()


async def begin(house: House, node: SandboxNode) -> int:
    """Fund the fuel wallet, start the scanner, and return a user."""
    gateway = gateway_of(house)
    await node.admin("faucet", address=gateway.fuel_address, trx="10000")
    await node.admin("faucet", address=gateway.main_address, trx="1", usdt="1")
    await node.settle()
    await scan_chain(parts_of(house), gateway)
    return await house.user(1, "Alice")


async def pay(house: House, user: int, amount: Any = "30") -> dict[str, Any]:
    body = {"gateway_id": "tron_usdt", "user_id": user, "amount": amount, "currency": "USDT"}
    answer = await house.call("payments", "POST", "/payment", body)
    assert answer.status_code == 200, answer.text
    payment: dict[str, Any] = answer.json()
    return payment


async def read(house: House, payment: dict[str, Any]) -> dict[str, Any]:
    answer = await house.call("payments", "GET", f"/payment/{payment['payment_id']}")
    found: dict[str, Any] = answer.json()
    return found


async def rich(node: SandboxNode, usdt: str = "1000") -> PrivateKey:
    key = new_key()
    await node.admin("faucet", address=address_of(key), trx="5000", usdt=usdt)
    return key


async def call(node: SandboxNode, key: PrivateKey, contract: str, selector: str, parameters: bytes) -> str:
    """Sign a call of a contract, send it, and return its id."""
    async with AsyncTron(AsyncHTTPProvider(node.url)) as tron:
        value = {
            "owner_address": key.public_key.to_hex_address(),
            "contract_address": to_raw_address(contract).hex(),
            "data": (keccak(text=selector)[:4] + parameters).hex(),
        }
        builder = tron.trx._build_transaction("TriggerSmartContract", value).fee_limit(1_000_000_000)
        sent = await (await builder.build()).sign(key).broadcast()
        return str(sent.txid)


async def transfer(node: SandboxNode, key: PrivateKey, to: str, units: int, contract: str = CONTRACT) -> str:
    parameters = encode(["address", "uint256"], [to_raw_address(to)[1:], units])
    return await call(node, key, contract, "transfer(address,uint256)", parameters)


async def sweep_through(house: House, node: SandboxNode) -> None:
    """Run the checks and the chain until every sweep is done."""
    for _ in range(6):
        await check_payments(parts_of(house), AT_ONCE)
        await node.settle()
        await scan_chain(parts_of(house), gateway_of(house))
    await check_payments(parts_of(house), AT_ONCE)


async def test_a_payment_is_credited_then_swept_and_succeeds(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, bob = await begin(house, node), await house.user(2, "Bob")
    deal = await house.deal(alice, bob, 25)
    await house.act(deal["deal_id"], "confirm")
    payment = await pay(house, alice)
    customer = await rich(node)
    gateway = gateway_of(house)
    before = await gateway.chain.balance(CONTRACT, gateway.main_address)

    await transfer(node, customer, wallet(payment), 30 * USDT)
    await node.mine(2)
    await scan_chain(parts_of(house), gateway)
    unsolid = await house.balance(alice)
    await node.settle()
    await scan_chain(parts_of(house), gateway)
    await house.deliver()
    credited = await house.balance(alice)
    waiting = await read(house, payment)
    await sweep_through(house, node)
    done = await read(house, payment)

    assert (unsolid, credited) == ("0.000000", "5.000000")
    funded = (await house.call("deals", "GET", f"/deal/{deal['deal_id']}")).json()
    assert funded["status"] == "confirmed"
    assert (waiting["status"], waiting["received_amount"]) == ("waiting", "30.000000")
    assert done["status"] == "success"
    assert await gateway.chain.balance(CONTRACT, wallet(payment)) == 0
    assert await gateway.chain.balance(CONTRACT, gateway.main_address) == before + 30 * USDT
    assert await rows(house, "SELECT status FROM wallet") == [("transferred",)]
    told = await house.outbox("payments")
    for envelope in told:
        check_event(envelope)
    assert [e["type"] for e in told] == [
        "payment.created",
        "payment.received",
        "payment.swept",
        "payment.succeeded",
    ]
    classes = await rows(
        house, "SELECT class FROM transfer WHERE currency = 'USDT' AND class <> 'funding' ORDER BY height"
    )
    assert classes == [("deposit",), ("own",)]
    assert (await check_invariants(parts_of(house)))["ok"]


async def test_two_logs_of_one_transaction_are_two_deposits(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice)
    customer = await rich(node)
    payout = to_base58(PAYOUT)
    allow = encode(["address", "uint256"], [PAYOUT[1:], 10**12])
    await call(node, customer, CONTRACT, "approve(address,uint256)", allow)
    await node.mine()
    to = to_raw_address(wallet(payment))[1:]
    parameters = encode(
        ["address", "address[]", "uint256[]"],
        [to_raw_address(CONTRACT)[1:], [to, to, to], [10 * USDT, 0, 20 * USDT]],
    )
    await call(node, customer, payout, "pay(address,address[],uint256[])", parameters)
    await node.settle()

    await scan_chain(parts_of(house), gateway_of(house))
    await house.deliver()

    assert await house.balance(alice) == "30.000000"
    logs = await rows(house, "SELECT log_index, amount::bigint FROM transfer WHERE class = 'deposit' ORDER BY 1")
    assert logs == [(0, 10 * USDT), (2, 20 * USDT)]


async def test_foreign_tokens_and_transfers_of_nothing_are_ignored(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice)
    customer = await rich(node)
    fake = to_base58(FAKE_USDT)
    await call(node, customer, fake, "issue(uint256)", encode(["uint256"], [1]))  # not the owner: reverts
    await transfer(node, customer, wallet(payment), 0, fake)
    await transfer(node, customer, wallet(payment), 0)
    await node.settle()

    await scan_chain(parts_of(house), gateway_of(house))

    assert await rows(house, "SELECT * FROM transfer WHERE class <> 'funding'") == []


async def test_what_a_fork_took_is_credited_once_it_is_solid(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice)
    customer = await rich(node)
    await node.settle()
    await transfer(node, customer, wallet(payment), 30 * USDT)
    await node.mine(2)
    await node.admin("fork", depth=2)
    await scan_chain(parts_of(house), gateway_of(house))
    await node.settle()
    for _ in range(2):
        await scan_chain(parts_of(house), gateway_of(house))
    await house.deliver()

    assert await house.balance(alice) == "30.000000"


async def test_a_spurious_empty_answer_is_not_believed(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice)
    await node.admin("faucet", address=wallet(payment), usdt="30")
    await node.settle()
    await node.admin("faults", endpoint="gettransactioninfobyblocknum", kind="empty", count=1)

    with pytest.raises(NodeLied):
        await scan_chain(parts_of(house), gateway_of(house))
    await scan_chain(parts_of(house), gateway_of(house))
    await house.deliver()

    assert await house.balance(alice) == "30.000000"


async def test_a_late_payment_stays_expired_and_the_money_is_credited(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    short = replace(parts_of(house).policy, payment_lifetime=timedelta(milliseconds=50))
    house.parts = replace(parts_of(house), policy=short)
    assert house.payments is not None
    house.payments.state.parts = house.parts
    payment = await pay(house, alice)

    async def chain_passes() -> str:
        await node.settle()
        await scan_chain(parts_of(house), gateway_of(house))
        await check_payments(parts_of(house), AT_ONCE)
        return str((await read(house, payment))["status"])

    expires_ms = datetime.fromisoformat(payment["expires_at"]).timestamp() * 1000

    async def chain_time_ms() -> int:
        await node.mine()
        head = await node.ask("wallet/getnowblock")
        return int(head["block_header"]["raw_data"]["timestamp"])

    await eventually(chain_time_ms, lambda now: now > expires_ms)
    await node.admin("faucet", address=wallet(payment), usdt="30")  # before any check saw it expire
    await eventually(chain_passes, lambda status: status == "expired")
    await sweep_through(house, node)
    await house.deliver()

    found = await read(house, payment)
    assert (found["status"], found["received_amount"]) == ("expired", "30.000000")
    told = {e["type"]: e for e in await house.outbox("payments")}
    check_event(told["payment.expired"])
    assert await house.balance(alice) == "30.000000"


async def test_a_deposit_before_the_first_scan_is_credited(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await house.user(1)
    payment = await pay(house, alice)
    await node.admin("faucet", address=wallet(payment), usdt="30")
    await node.mine(20)

    await scan_chain(parts_of(house), gateway_of(house))
    await house.deliver()

    assert await house.balance(alice) == "30.000000"


async def test_a_deposit_during_a_sweep_is_swept_too(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice, "50")
    await node.admin("faucet", address=wallet(payment), usdt="30")
    await node.settle()
    await scan_chain(parts_of(house), gateway_of(house))
    await house.deliver()
    for _ in range(2):  # fuel, then the transfer
        await check_payments(parts_of(house), AT_ONCE)
        await node.settle()
        await scan_chain(parts_of(house), gateway_of(house))
    await node.admin("faucet", address=wallet(payment), usdt="20")
    await node.settle()
    await scan_chain(parts_of(house), gateway_of(house))  # seen, and not applied yet
    await check_payments(parts_of(house), AT_ONCE)
    assert await rows(house, "SELECT status FROM wallet") == [("received",)]

    await house.deliver()
    await sweep_through(house, node)

    assert (await read(house, payment))["status"] == "success"
    assert await gateway_of(house).chain.balance(CONTRACT, wallet(payment)) == 0
    assert await rows(house, "SELECT step FROM sweep") == [("swept",), ("swept",)]


async def test_dust_succeeds_without_a_sweep(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice, "0.5")
    await node.admin("faucet", address=wallet(payment), usdt="0.5")
    await node.settle()
    await scan_chain(parts_of(house), gateway_of(house))
    await house.deliver()
    await check_payments(parts_of(house), AT_ONCE)

    assert (await read(house, payment))["status"] == "success"
    assert await rows(house, "SELECT * FROM sweep") == []


async def test_under_and_over_paid_money_is_all_credited(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice, "30")
    for usdt, status in (("10", "waiting"), ("50", "success")):
        await node.admin("faucet", address=wallet(payment), usdt=usdt)
        await node.settle()
        await scan_chain(parts_of(house), gateway_of(house))
        await house.deliver()
        await sweep_through(house, node)
        assert (await read(house, payment))["status"] == status

    assert await house.balance(alice) == "60.000000"


async def test_check_payments_credits_what_no_event_told(
    paying_house: House, tron_node: SandboxNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice)
    await node.admin("faucet", address=wallet(payment), usdt="30")
    await node.settle()
    await scan_chain(parts_of(house), gateway_of(house))
    monkeypatch.setattr(checks, "CREDIT_AFTER", timedelta())

    await check_payments(parts_of(house), AT_ONCE)
    await house.deliver()  # the event comes after all

    assert await house.balance(alice) == "30.000000"


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "503", "429", "html", "error"])
async def test_a_broadcast_whose_answer_is_lost_moves_the_money_once(
    paying_house: House, tron_node: SandboxNode, kind: str
) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice)
    await node.admin("faucet", address=wallet(payment), usdt="30")
    await node.settle()
    await scan_chain(parts_of(house), gateway_of(house))
    await house.deliver()
    await node.admin("faults", endpoint="broadcasthex", kind=kind, count=2)
    before = await gateway_of(house).chain.balance(CONTRACT, gateway_of(house).main_address)

    async def swept() -> str:
        await rows(house, "UPDATE sweep SET due_at = now() WHERE step <> 'swept'")
        await sweep_through(house, node)
        return str((await read(house, payment))["status"])

    await eventually(swept, lambda status: status == "success")

    after = await gateway_of(house).chain.balance(CONTRACT, gateway_of(house).main_address)
    assert after - before == 30 * USDT
    sent = await rows(house, "SELECT purpose, state FROM outgoing ORDER BY id")
    assert sent == [("fuel", "succeeded"), ("transfer", "succeeded")]


async def test_two_passes_at_once_start_one_sweep(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice = await begin(house, node)
    payment = await pay(house, alice)
    await node.admin("faucet", address=wallet(payment), usdt="30")
    await node.settle()
    await asyncio.gather(
        *(scan_chain(parts_of(house), gateway_of(house)) for _ in range(4)), return_exceptions=True
    )
    await scan_chain(parts_of(house), gateway_of(house))
    await house.deliver()

    for _ in range(3):
        await asyncio.gather(*(check_payments(parts_of(house), AT_ONCE) for _ in range(4)))
        await node.settle()
        await scan_chain(parts_of(house), gateway_of(house))
    await check_payments(parts_of(house), AT_ONCE)

    assert await rows(house, "SELECT step FROM sweep") == [(Step.SWEPT.value,)]
    assert (await read(house, payment))["status"] == "success"
    assert await house.balance(alice) == "30.000000"


async def test_a_waiting_payment_has_a_wallet_of_its_own_and_a_user_keeps_theirs(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice, bob = await begin(house, node), await house.user(2)
    many = await asyncio.gather(*(pay(house, alice) for _ in range(5)))
    others = await asyncio.gather(*(pay(house, bob) for _ in range(5)))
    addresses = {wallet(p) for p in [*many, *others]}
    assert len(addresses) == 10

    await node.admin("faucet", address=wallet(many[0]), usdt="30")
    await sweep_through(house, node)
    await house.deliver()
    await sweep_through(house, node)
    assert (await read(house, many[0]))["status"] == "success"
    assert wallet(await pay(house, bob)) not in addresses
    assert wallet(await pay(house, alice)) == wallet(many[0])


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"gateway_id": "paypal"}, 422),
        ({"gateway_id": 5}, 422),
        ({"currency": "TRX"}, 422),
        ({"amount": 0}, 422),
        ({"amount": -1}, 422),
        ({"amount": "0.0000001"}, 422),
        ({"amount": True}, 422),
        ({"amount": "NaN"}, 422),
        ({"user_id": "1"}, 422),
        ({"user_id": 2**63}, 422),
        ({"user_id": 999_999}, 404),
        ({"memo": "x"}, 422),
    ],
)
async def test_a_payment_that_cannot_be_is_refused(
    paying_house: House, change: dict[str, Any], status: int
) -> None:
    alice = await paying_house.user(1)
    body = {"gateway_id": "tron_usdt", "user_id": alice, "amount": "1", "currency": "USDT", **change}

    answer = await paying_house.call("payments", "POST", "/payment/", body)

    assert answer.status_code == status, answer.text
    assert await rows(paying_house, "SELECT * FROM wallet") == []


async def test_another_tenants_payment_is_not_found(paying_house: House) -> None:
    house = paying_house
    alice = await house.user(1)
    payment = await pay(house, alice)
    foreign = await house.call("payments", "GET", f"/payment/{payment['payment_id']}", key="other")
    body = {"gateway_id": "tron_usdt", "user_id": alice, "amount": "1", "currency": "USDT"}
    foreign_user = await house.call("payments", "POST", "/payment", body, key="other")

    assert (foreign.status_code, foreign.json()["code"]) == (404, "payment_not_found")
    assert (foreign_user.status_code, foreign_user.json()["code"]) == (404, "user_not_found")


async def test_a_payment_is_shown_though_its_gateway_is_not_configured_any_more(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house = paying_house
    alice = await begin(house, tron_node)
    payment = await pay(house, alice)
    assert house.payments is not None
    left = {name: gateway for name, gateway in parts_of(house).gateways.items() if name != "tron_usdt"}
    house.payments.state.parts = replace(parts_of(house), gateways=left)

    found = await house.call("payments", "GET", f"/payment/{payment['payment_id']}")

    assert found.status_code == 200, found.text
    assert found.json()["gateway_data"] == {"address": wallet(payment), "network": "tron", "token_contract": None}
