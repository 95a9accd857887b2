"""Chain, books and ledger compared, wallet by wallet and in all."""

import pytest

from payments.use_cases.reconcile import ScannerBehind
from support.chain import SandboxNode
from support.house import USDT, House
from support.operating import begin, compared, deposit, settle, sweep_all, tamper, working


async def test_reconciliation_is_quiet_when_all_agrees(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    await deposit(house, tron_node, alice, "30")
    await deposit(house, tron_node, alice, "0.5")
    await sweep_all(house, tron_node)

    async with working(house, tron_node):
        found = await compared(house, everyone=True)

    assert found.agrees, found
    assert found.compared == 2 + 2
    usdt, trx = (next(t for t in found.totals if t.currency == code) for code in ("USDT", "TRX"))
    assert usdt.wallets == 31 * USDT + USDT // 2
    assert trx.wallets < 10_001 * USDT


async def test_what_is_on_its_way_is_no_difference(paying_house: House, tron_node: SandboxNode) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    body = {"gateway_id": "tron_usdt", "user_id": alice, "amount": "30", "currency": "USDT"}
    payment = (await house.call("payments", "POST", "/payment", body)).json()
    await tron_node.admin("faucet", address=payment["gateway_data"]["address"], usdt="30")
    await settle(house, tron_node)

    found = await compared(house)

    assert found.agrees, found
    usdt = next(t for t in found.totals if t.currency == "USDT")
    assert usdt.in_flight["deposit"] == 30 * USDT


@pytest.mark.parametrize(
    ("statement", "units"),
    [
        ("UPDATE transfer SET amount = amount + 7 WHERE to_address = $1", 30 * USDT + 7),
        ("DELETE FROM transfer WHERE to_address = $1", 0),
    ],
)
async def test_a_tampered_row_is_named_exactly(
    paying_house: House, tron_node: SandboxNode, statement: str, units: int
) -> None:
    house = paying_house
    alice, _ = await begin(house, tron_node)
    address = await deposit(house, tron_node, alice, "30")
    await deposit(house, tron_node, alice, "20")
    await tamper(house, statement, address)

    found = await compared(house)

    (wallet,) = found.wallets
    assert (wallet.wallet.address, wallet.currency) == (address, "USDT")
    assert (wallet.chain_units, wallet.book_units) == (30 * USDT, units)
    (key,) = found.keys
    assert (key.kind, key.ledger_units, key.stored_units) == ("deposit", 30 * USDT, units)
    usdt, trx = (next(t for t in found.totals if t.currency == code) for code in ("USDT", "TRX"))
    assert (usdt.difference, trx.difference) == (units - 30 * USDT, 0)


async def test_a_scanner_that_does_not_run_is_told(
    paying_house: House, tron_node: SandboxNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = paying_house
    await begin(house, tron_node)
    await tron_node.mine(1)
    monkeypatch.setattr("payments.use_cases.reconcile.CURSOR_WAITS", 2)

    with pytest.raises(ScannerBehind, match="worker"):
        await compared(house)
