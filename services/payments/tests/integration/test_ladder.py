"""The fuel ladder of sweeps on the sandbox chain: energy at hand, lent energy, burned TRX; and what stops it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from payments.adapters import tron_node
from support.cashier import Cashier, usual_chain, wallet
from support.chain import SandboxNode
from support.customer import rich
from support.house import TRX, USDT, House

ACTIVATION_SUN = 1_100_000
STAKE_SUN = 20_000 * TRX
"""Enough energy for a transfer, and for another one a little later."""


@pytest.fixture
async def cashier(paying_house: House, tron_node: SandboxNode) -> AsyncIterator[Cashier]:
    async with usual_chain(tron_node):
        yield Cashier(paying_house, tron_node)


async def due(cashier: Cashier, units: int = 30 * USDT) -> dict[str, Any]:
    """Return a payment of a new user that is paid, and whose sweep is due."""
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    await (await rich(cashier.node)).pay(wallet(payment), units)
    await cashier.credit()
    return payment


async def sent(cashier: Cashier) -> list[tuple[str, str]]:
    """Return the transactions of all sweeps in order."""
    return await cashier.rows("SELECT purpose, state FROM outgoing WHERE purpose <> 'stake' ORDER BY id")


async def until(cashier: Cashier, step: str) -> None:
    """Go on until the sweep's newest transaction, which is of this step, is solid and nothing has followed it."""
    for _ in range(8):
        if await cashier.rows(f"SELECT 1 FROM sweep WHERE step = '{step}'"):
            return
        await cashier.step()
    raise AssertionError(await cashier.rows("SELECT step, last_error FROM sweep"))


async def sign_only(cashier: Cashier) -> None:
    """Let the sweep take a step whose transaction is stored, and lost on its way to the node."""
    await cashier.node.admin("faults", endpoint="broadcasthex", kind="drop_before", count=1)
    before = len(await sent(cashier))
    await cashier.step()
    assert len(await sent(cashier)) == before + 1
    assert (await sent(cashier))[-1][1] == "sent"


async def check_fees(cashier: Cashier, capital: int = 100_001 * TRX) -> None:
    """Check that the ledger's fees are what our transactions burned, beside our own capital."""
    ((burned,),) = await cashier.rows("SELECT COALESCE(sum(fee_sun), 0)::bigint FROM outgoing")
    books = await cashier.house_books()
    assert books == {"operator": capital} | ({"fees": -burned} if burned else {})


async def test_a_first_sweep_activates_and_burns_and_the_user_has_no_trx(cashier: Cashier) -> None:
    payment = await due(cashier)

    await cashier.sweep()

    assert await sent(cashier) == [("fuel", "succeeded"), ("transfer", "succeeded")]
    fees = await cashier.rows("SELECT purpose, fee_sun FROM outgoing ORDER BY id")
    assert fees[0] == ("fuel", ACTIVATION_SUN)
    assert 6 * TRX < fees[1][1] < 7 * TRX
    assert await cashier.house.balance(payment["user_id"], currency="TRX") == "0.000000"
    assert (await cashier.read(payment))["status"] == "success"
    await cashier.prove()
    await check_fees(cashier)


async def test_energy_at_hand_burns_nothing(cashier: Cashier) -> None:
    payment = await due(cashier)
    await cashier.node.admin("faucet", address=wallet(payment))  # activates it
    await (await rich(cashier.node, trx="20000")).lend_energy(wallet(payment), 8_000 * TRX)

    await cashier.sweep()

    assert await cashier.rows("SELECT purpose, fee_sun FROM outgoing") == [("transfer", 0)]
    assert await cashier.chain_balance(wallet(payment)) == 0
    await cashier.prove()
    await check_fees(cashier)


async def test_lent_energy_burns_nothing_and_is_taken_back(cashier: Cashier) -> None:
    payment = await due(cashier)
    await cashier.stake(STAKE_SUN)

    await until(cashier, "delegating")
    lent = await cashier.lent(wallet(payment))
    await cashier.sweep()

    assert 7_000 * TRX < lent < 8_000 * TRX
    order = ["fuel", "delegate", "transfer", "reclaim"]
    assert await sent(cashier) == [(name, "succeeded") for name in order]
    assert await cashier.rows("SELECT fee_sun FROM outgoing WHERE purpose = 'transfer'") == [(0,)]
    assert await cashier.chain_balance(wallet(payment), "tron_trx") == 1, "a sun activates"
    assert await cashier.lent(wallet(payment)) == 0
    assert (await cashier.read(payment))["status"] == "success"
    await cashier.prove()
    await check_fees(cashier)


async def test_a_transfer_that_reverts_gives_lent_energy_back_and_is_tried_again(cashier: Cashier) -> None:
    payment = await due(cashier)
    await cashier.stake(STAKE_SUN)
    await until(cashier, "delegating")
    await sign_only(cashier)
    await cashier.node.admin("token", pause=True)  # between the signature and the block

    await cashier.step()
    await cashier.step()
    await cashier.step()
    paused = await sent(cashier)

    order = ["fuel", "delegate", "transfer", "reclaim"]
    assert [name for name, _ in paused] == order
    assert [state for _, state in paused] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert await cashier.lent(wallet(payment)) == 0
    await cashier.node.admin("token", pause=False)
    await cashier.sweep()

    assert (await cashier.read(payment))["status"] == "success"
    assert await cashier.lent(wallet(payment)) == 0
    assert await cashier.house.balance(payment["user_id"]) == "30.000000"
    await cashier.prove()
    await check_fees(cashier)


async def test_a_pause_while_energy_is_lent_gives_it_back(cashier: Cashier) -> None:
    payment = await due(cashier)
    await cashier.stake(STAKE_SUN)
    await until(cashier, "delegating")
    await cashier.node.admin("token", pause=True)

    for _ in range(3):
        await cashier.step()

    assert [name for name, _ in await sent(cashier)] == ["fuel", "delegate", "reclaim"]
    assert await cashier.lent(wallet(payment)) == 0
    await cashier.node.admin("token", pause=False)
    await cashier.sweep()
    assert (await cashier.read(payment))["status"] == "success"
    await cashier.prove()


async def test_lent_energy_that_was_used_up_ends_out_of_energy_and_is_given_back(cashier: Cashier) -> None:
    payment = await due(cashier)
    await cashier.stake(STAKE_SUN)
    await until(cashier, "delegating")
    await sign_only(cashier)
    await cashier.node.admin("resources", address=wallet(payment), energy=0)

    await cashier.step()
    await cashier.step()

    assert ("transfer", "failed") in await sent(cashier)
    assert await cashier.lent(wallet(payment)) == 0
    await cashier.sweep()
    assert (await cashier.read(payment))["status"] == "success"
    assert await cashier.lent(wallet(payment)) == 0
    await cashier.prove()
    await check_fees(cashier)


async def test_a_loan_that_is_too_little_by_now_is_taken_back_before_the_next(cashier: Cashier) -> None:
    payment = await due(cashier)
    await cashier.stake(STAKE_SUN)
    await until(cashier, "delegating")
    await cashier.node.admin("resources", address=wallet(payment), energy=10_000)

    await cashier.sweep()

    order = ["fuel", "delegate", "reclaim", "delegate", "transfer", "reclaim"]
    assert [name for name, _ in await sent(cashier)] == order
    assert await cashier.lent(wallet(payment)) == 0
    assert (await cashier.read(payment))["status"] == "success"
    await cashier.prove()


async def test_a_dearer_price_burns_a_try_and_the_next_one_knows_it(
    cashier: Cashier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tron_node, "PRICES_KEPT_S", 0.0)
    payment = await due(cashier)
    await until(cashier, "fueling")
    await sign_only(cashier)
    await cashier.node.admin("parameters", getEnergyFee=150)

    await cashier.sweep()

    states = await sent(cashier)
    assert states[1] == ("transfer", "failed")
    assert states[-1] == ("transfer", "succeeded")
    assert (await cashier.read(payment))["status"] == "success"
    await cashier.prove()
    await check_fees(cashier)


async def test_all_tries_of_a_sweep_stay_below_the_cap(cashier: Cashier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tron_node, "PRICES_KEPT_S", 0.0)
    payment = await due(cashier)
    cashier.decide(sweep_fee_cap_sun=12 * TRX)
    await until(cashier, "fueling")
    await sign_only(cashier)
    await cashier.node.admin("parameters", getEnergyFee=150)

    for _ in range(4):
        await cashier.step()

    ((step, tries, error),) = await cashier.rows("SELECT step, tries, last_error FROM sweep")
    assert step == "planned"
    assert tries >= 2
    assert "SWEEP_FEE_CAP_SUN" in error
    assert await sent(cashier) == [("fuel", "succeeded"), ("transfer", "failed")]
    ((spent,),) = await cashier.rows("SELECT sum(fee_sun)::bigint FROM outgoing")
    assert 8 * TRX < spent <= 12 * TRX
    await cashier.prove()
    cashier.decide(sweep_fee_cap_sun=30 * TRX)
    await cashier.sweep()
    assert (await cashier.read(payment))["status"] == "success"
    await check_fees(cashier)


async def test_a_sweep_that_is_too_dear_sends_nothing_and_says_why(cashier: Cashier) -> None:
    payment = await due(cashier)
    cashier.decide(sweep_fee_cap_sun=7 * TRX)

    for _ in range(3):
        await cashier.step()

    ((step, tries, error),) = await cashier.rows("SELECT step, tries, last_error FROM sweep")
    assert (step, tries) == ("planned", 3)
    assert error.startswith("TooDear: ")
    assert "7000000" in error
    assert await sent(cashier) == []
    assert (await cashier.read(payment))["status"] == "waiting"
    assert await cashier.house.balance(payment["user_id"]) == "30.000000"
    cashier.decide(sweep_fee_cap_sun=9 * TRX)
    await cashier.sweep()
    assert (await cashier.read(payment))["status"] == "success"
    await cashier.prove()


async def test_while_the_token_is_paused_sweeps_wait_and_burn_nothing(cashier: Cashier) -> None:
    payment = await due(cashier)
    await cashier.node.admin("token", pause=True)

    for _ in range(3):
        await cashier.step()

    assert await sent(cashier) == []
    ((tries, error),) = await cashier.rows("SELECT tries, last_error FROM sweep")
    assert tries == 3
    assert "paused" in error
    await cashier.node.admin("token", pause=False)
    await cashier.sweep()
    assert (await cashier.read(payment))["status"] == "success"
    await cashier.prove()


async def test_a_wallet_on_the_black_list_waits_and_burns_nothing(cashier: Cashier) -> None:
    payment = await due(cashier)
    await cashier.node.admin("token", blacklist=wallet(payment))

    for _ in range(2):
        await cashier.step()

    assert await sent(cashier) == []
    assert "blacklisted" in (await cashier.rows("SELECT last_error FROM sweep"))[0][0]
    assert await cashier.house.balance(payment["user_id"]) == "30.000000"
    await cashier.prove()
    await cashier.node.admin("token", unblacklist=wallet(payment))
    await cashier.sweep()
    assert (await cashier.read(payment))["status"] == "success"


async def test_a_token_with_a_fee_credits_what_arrived_and_books_the_sweeps_fee(cashier: Cashier) -> None:
    await cashier.node.admin("token", fee_basis_points=10, maximum_fee=10 * USDT)
    payment = await due(cashier)
    main = cashier.gateway().main_address
    before = await cashier.chain_balance(main)

    await cashier.sweep()

    assert await cashier.arrived(payment) == [("under", "29.970000", "USDT")]
    assert await cashier.house.balance(payment["user_id"]) == "29.970000"
    assert await cashier.chain_balance(wallet(payment)) == 0
    assert await cashier.chain_balance(main) == before + 29_970_000 - 29_970
    await cashier.prove()
    assert await cashier.house_books("USDT") == {"operator": 1 * USDT - 1000, "fees": -29_970}
    await check_fees(cashier)


@pytest.mark.parametrize("credited", [True, False], ids=["credited", "not credited yet"])
async def test_trx_of_the_user_is_never_burned(cashier: Cashier, credited: bool) -> None:
    payment = await due(cashier)
    customer = await rich(cashier.node)
    await customer.pay_trx(wallet(payment), 9 * TRX)  # dust, and enough to burn
    await (cashier.credit if credited else cashier.scan)()

    await cashier.sweep()
    assert await cashier.chain_balance(wallet(payment)) == 0
    assert await cashier.chain_balance(wallet(payment), "tron_trx") >= 9 * TRX
    await customer.pay_trx(wallet(payment), 1 * TRX)
    await cashier.credit()
    before = await cashier.chain_balance(cashier.gateway().main_address, "tron_trx")
    await cashier.sweep()

    after = await cashier.chain_balance(cashier.gateway().main_address, "tron_trx")
    assert after - before == 10 * TRX
    assert (await cashier.read(payment))["status"] == "success"
    assert await cashier.house.balance(payment["user_id"], currency="TRX") == "10.000000"
    await cashier.prove()
    await check_fees(cashier)


async def test_two_sweeps_of_one_wallet_do_not_use_each_others_energy(cashier: Cashier) -> None:
    payment = await due(cashier)
    await cashier.stake(STAKE_SUN)
    customer = await rich(cashier.node)
    await customer.pay_trx(wallet(payment), 20 * TRX)
    await cashier.credit()

    await cashier.sweep()

    states = await sent(cashier)
    assert {state for _, state in states} == {"succeeded"}
    assert sorted(name for name, _ in states) == ["delegate", "fuel", "reclaim", "transfer", "transfer"]
    assert await cashier.chain_balance(wallet(payment)) == 0
    assert await cashier.chain_balance(wallet(payment), "tron_trx") < TRX
    assert await cashier.lent(wallet(payment)) == 0
    await cashier.prove()
