"""Stake 2.0 as unmodified tronpy and plain HTTP use it: TRX becomes energy, which is lent and taken back."""

import signal
from pathlib import Path
from typing import Any

import pytest
from tronpy import AsyncTron
from tronpy.exceptions import ValidationError
from tronpy.keys import PrivateKey
from tronpy.providers import AsyncHTTPProvider

from support.chain import USDT, SandboxNode, address_of, new_key, sandbox_node
from support.servers import free_port

TRX = 1_000_000
ENERGY_OF_1000_TRX = 9473
"""1,000 TRX of mainnet's 19 billion staked, of 180 billion energy a day."""
DAY_S = 86_400


async def rich(node: SandboxNode, trx: str = "20000", usdt: str = "500") -> tuple[PrivateKey, str]:
    key = new_key()
    await node.admin("faucet", address=address_of(key), trx=trx, usdt=usdt)
    return key, address_of(key)


async def send(tron: AsyncTron, node: SandboxNode, key: PrivateKey, builder: Any) -> dict[str, Any]:
    sent = await (await builder.build()).sign(key).broadcast()
    await node.mine()
    info: dict[str, Any] = await sent.wait(interval=0.05)
    return info


def client(node: SandboxNode) -> AsyncTron:
    return AsyncTron(AsyncHTTPProvider(node.url, timeout=10))


async def resource(node: SandboxNode, address: str) -> dict[str, Any]:
    found: dict[str, Any] = await node.ask("wallet/getaccountresource", address=address, visible=True)
    return found


async def account(node: SandboxNode, address: str) -> dict[str, Any]:
    found: dict[str, Any] = await node.ask("wallet/getaccount", address=address, visible=True)
    return found


async def usdt_transfer(tron: AsyncTron, node: SandboxNode, key: PrivateKey, to: str) -> dict[str, Any]:
    contract = await tron.get_contract(USDT)
    call = (await contract.functions.transfer(to, 1_000_000)).with_owner(address_of(key)).fee_limit(50_000_000)
    return await send(tron, node, key, call)


async def test_staked_trx_gives_energy_that_is_lent_used_and_taken_back(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node)
    lent_to, borrower = await rich(tron_node, trx="50")
    _, recipient = await rich(tron_node, trx="1", usdt="1")
    async with client(tron_node) as tron:
        frozen = await send(tron, tron_node, key, tron.trx.freeze_balance(address, 15_000 * TRX, "ENERGY"))
        own = await resource(tron_node, address)
        lend = tron.trx.delegate_resource(address, borrower, 8_000 * TRX, "ENERGY")
        await send(tron, tron_node, key, lend)
        loan = await tron_node.ask(
            "wallet/getdelegatedresourcev2", fromAddress=address, toAddress=borrower, visible=True
        )
        theirs = await resource(tron_node, borrower)
        paid = await usdt_transfer(tron, tron_node, lent_to, recipient)
        used = await resource(tron_node, borrower)
        back = tron.trx.undelegate_resource(address, borrower, 8_000 * TRX, "ENERGY")
        await send(tron, tron_node, key, back)
        after = await account(tron_node, address)

    assert frozen["receipt"]["net_usage"] > 200
    assert own["EnergyLimit"] == 142_105
    assert loan["delegatedResource"] == [
        {"from": address, "to": borrower, "frozen_balance_for_energy": 8_000 * TRX}
    ]
    assert theirs["EnergyLimit"] == 75_789
    receipt = paid["receipt"]
    assert receipt["energy_usage"] == receipt["energy_usage_total"] == 64_284
    assert "energy_fee" not in receipt
    assert paid.get("fee", 0) == 0
    assert used["EnergyUsed"] == pytest.approx(64_284, rel=0.001)
    assert after["frozenV2"][1] == {"type": "ENERGY", "amount": 15_000 * TRX}
    assert "EnergyLimit" not in await resource(tron_node, borrower)
    assert (await resource(tron_node, address))["EnergyUsed"] == pytest.approx(64_284, rel=0.001)


async def test_what_energy_does_not_cover_is_burned(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node, trx="3000")
    _, recipient = await rich(tron_node, trx="1", usdt="1")
    async with client(tron_node) as tron:
        await send(tron, tron_node, key, tron.trx.freeze_balance(address, 1_000 * TRX, "ENERGY"))
        before = (await account(tron_node, address))["balance"]
        paid = await usdt_transfer(tron, tron_node, key, recipient)

    receipt = paid["receipt"]
    assert receipt["energy_usage"] == ENERGY_OF_1000_TRX
    assert receipt["energy_fee"] == (64_284 - ENERGY_OF_1000_TRX) * 100
    burned = before - (await account(tron_node, address))["balance"]
    assert burned == paid["fee"] == receipt["energy_fee"] + receipt.get("net_fee", 0)


async def test_energy_comes_back_within_a_day(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node)
    _, recipient = await rich(tron_node, trx="1", usdt="1")
    async with client(tron_node) as tron:
        await send(tron, tron_node, key, tron.trx.freeze_balance(address, 10_000 * TRX, "ENERGY"))
        await usdt_transfer(tron, tron_node, key, recipient)
        await tron_node.admin("clock", advance=DAY_S // 2)
        half = await resource(tron_node, address)
        await tron_node.admin("clock", advance=DAY_S // 2)
        whole = await resource(tron_node, address)

    assert half["EnergyUsed"] == pytest.approx(64_284 // 2, rel=0.01)
    assert "EnergyUsed" not in whole


async def test_staked_bandwidth_is_used_before_the_free_one(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node)
    _, recipient = await rich(tron_node, trx="1", usdt="1")
    async with client(tron_node) as tron:
        await send(tron, tron_node, key, tron.trx.freeze_balance(address, 1_000 * TRX, "BANDWIDTH"))
        free = (await resource(tron_node, address))["freeNetUsed"]
        sent = await send(tron, tron_node, key, tron.trx.transfer(address, recipient, 5))
        found = await resource(tron_node, address)

    assert found["NetLimit"] == 1_600
    assert found["NetUsed"] == pytest.approx(sent["receipt"]["net_usage"], rel=0.01)
    assert found["freeNetUsed"] == pytest.approx(free, rel=0.01)


async def test_unstaked_trx_comes_back_after_a_fortnight(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node)
    async with client(tron_node) as tron:
        await send(tron, tron_node, key, tron.trx.freeze_balance(address, 2_000 * TRX, "ENERGY"))
        unstake = tron.trx.unfreeze_balance(address, "ENERGY", unfreeze_balance=500 * TRX)
        await send(tron, tron_node, key, unstake)
        waiting = await account(tron_node, address)
        with pytest.raises(ValidationError, match="no unFreeze balance to withdraw"):
            await send(tron, tron_node, key, tron.trx.withdraw_stake_balance(address))
        await tron_node.admin("clock", advance=14 * DAY_S)
        due = await tron_node.ask("wallet/getcanwithdrawunfreezeamount", owner_address=address, visible=True)
        await send(tron, tron_node, key, tron.trx.withdraw_stake_balance(address))
        after = await account(tron_node, address)

    (one,) = waiting["unfrozenV2"]
    assert (one["type"], one["unfreeze_amount"]) == ("ENERGY", 500 * TRX)
    assert due == {"amount": 500 * TRX}
    assert "unfrozenV2" not in after
    assert after["balance"] == waiting["balance"] + 500 * TRX


async def test_a_locked_loan_stays_until_its_time(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node)
    _, borrower = await rich(tron_node, trx="1", usdt="1")
    async with client(tron_node) as tron:
        await send(tron, tron_node, key, tron.trx.freeze_balance(address, 2_000 * TRX, "ENERGY"))
        lend = tron.trx.delegate_resource(address, borrower, 1_000 * TRX, "ENERGY", lock=True, lock_period=1_200)
        await send(tron, tron_node, key, lend)
        back = tron.trx.undelegate_resource(address, borrower, 1_000 * TRX, "ENERGY")
        with pytest.raises(ValidationError, match="insufficient delegatedFrozenBalance"):
            await send(tron, tron_node, key, back)
        await tron_node.admin("clock", advance=3_600)
        await send(tron, tron_node, key, tron.trx.undelegate_resource(address, borrower, 1_000 * TRX, "ENERGY"))

    assert (await account(tron_node, address))["frozenV2"][1]["amount"] == 2_000 * TRX


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("freezebalancev2", {"frozen_balance": 1}, "frozenBalance must be greater than or equal to 1 TRX"),
        ("freezebalancev2", {"frozen_balance": -5}, "frozenBalance must be positive"),
        (
            "freezebalancev2",
            {"frozen_balance": 10**15},
            "frozenBalance must be less than or equal to accountBalance",
        ),
        ("freezebalancev2", {"frozen_balance": TRX, "resource": 7}, "ResourceCode error, valid ResourceCode"),
        ("unfreezebalancev2", {"unfreeze_balance": TRX, "resource": "ENERGY"}, "no frozenBalance(Energy)"),
        (
            "delegateresource",
            {"balance": TRX, "receiver_address": USDT, "resource": "ENERGY"},
            "delegateBalance must be less than or equal to available FreezeEnergyV2 balance",
        ),
        (
            "undelegateresource",
            {"balance": TRX, "receiver_address": USDT, "resource": "ENERGY"},
            "delegated Resource does not exist",
        ),
        ("withdrawexpireunfreeze", {}, "no unFreeze balance to withdraw"),
    ],
)
async def test_what_can_not_be_is_told_in_java_trons_words(
    tron_node: SandboxNode, path: str, body: dict[str, Any], text: str
) -> None:
    _, address = await rich(tron_node, trx="100", usdt="1")

    answer = await tron_node.ask(f"wallet/{path}", owner_address=address, visible=True, **body)

    assert answer["Error"].startswith("class org.tron.core.exception.ContractValidateException : ")
    assert text in answer["Error"]


async def test_a_stake_that_leaves_nothing_for_its_own_fee_is_refused_at_once(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node, trx="100", usdt="1")
    async with client(tron_node) as tron:
        for _ in range(2):  # the free bandwidth goes
            await send(tron, tron_node, key, tron.trx.freeze_balance(address, TRX, "ENERGY"))
        before = await account(tron_node, address)
        whole = await tron.trx.freeze_balance(address, before["balance"], "ENERGY").build()
        with pytest.raises(ValidationError, match="less than or equal to accountBalance"):
            await whole.sign(key).broadcast()
        await tron_node.mine()

    assert await tron_node.ask("wallet/gettransactioninfobyid", value=whole.txid) == {}
    assert await account(tron_node, address) == before


async def test_a_fork_takes_a_loan_back(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node)
    _, borrower = await rich(tron_node, trx="1", usdt="1")
    async with client(tron_node) as tron:
        await send(tron, tron_node, key, tron.trx.freeze_balance(address, 2_000 * TRX, "ENERGY"))
        await send(tron, tron_node, key, tron.trx.delegate_resource(address, borrower, 1_000 * TRX, "ENERGY"))
    await tron_node.admin("fork", depth=1, drop=True)

    assert "EnergyLimit" not in await resource(tron_node, borrower)
    assert (await account(tron_node, address))["frozenV2"][1]["amount"] == 2_000 * TRX


async def test_stakes_and_their_clock_are_whole_after_kill_9(tmp_path: Path) -> None:
    state, port = tmp_path / "chain.jsonl", free_port()
    with sandbox_node(state, port, signal.SIGKILL) as node:
        key, address = await rich(node)
        _, borrower = await rich(node, trx="1", usdt="1")
        async with client(node) as tron:
            await send(tron, node, key, tron.trx.freeze_balance(address, 9_000 * TRX, "ENERGY"))
            await usdt_transfer(tron, node, key, borrower)
            await node.admin("clock", advance=DAY_S // 4)
            await send(tron, node, key, tron.trx.delegate_resource(address, borrower, 100 * TRX, "ENERGY"))
        before = [await resource(node, address), await account(node, address), await account(node, borrower)]

    with sandbox_node(state, port) as node:
        after = [await resource(node, address), await account(node, address), await account(node, borrower)]

    assert before[0]["EnergyUsed"] == pytest.approx(64_284 * 3 // 4, rel=0.01)
    assert after == before


async def test_unstaking_can_be_cancelled(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node)
    async with client(tron_node) as tron:
        await send(tron, tron_node, key, tron.trx.freeze_balance(address, 2_000 * TRX, "ENERGY"))
        for trx in (500, 300):
            unstake = tron.trx.unfreeze_balance(address, "ENERGY", unfreeze_balance=trx * TRX)
            await send(tron, tron_node, key, unstake)
            await tron_node.admin("clock", advance=8 * DAY_S)
    before = await account(tron_node, address)
    unsigned = await tron_node.ask("wallet/cancelallunfreezev2", owner_address=address, visible=True)
    signature = key.sign_msg_hash(bytes.fromhex(unsigned["txID"])).hex()
    await tron_node.ask("wallet/broadcasttransaction", **unsigned, signature=[signature])
    await tron_node.mine()
    after = await account(tron_node, address)
    again = await tron_node.ask("wallet/cancelallunfreezev2", owner_address=address, visible=True)

    assert "unfrozenV2" not in after
    assert after["frozenV2"][1]["amount"] == 1_500 * TRX  # 300 are staked again
    assert after["balance"] == before["balance"] + 500 * TRX  # and 500 were due
    assert "No unfreezeV2 list to cancel" in again["Error"]


async def test_a_borrower_knows_its_lenders(tron_node: SandboxNode) -> None:
    key, address = await rich(tron_node)
    _, borrower = await rich(tron_node, trx="1", usdt="1")
    async with client(tron_node) as tron:
        await send(tron, tron_node, key, tron.trx.freeze_balance(address, 2_000 * TRX, "ENERGY"))
        await send(tron, tron_node, key, tron.trx.delegate_resource(address, borrower, 9 * TRX, "ENERGY"))
        lent = await tron.get_delegated_resource_account_index_v2(borrower)
        await send(tron, tron_node, key, tron.trx.undelegate_resource(address, borrower, 9 * TRX, "ENERGY"))
        returned = await tron.get_delegated_resource_account_index_v2(borrower)

    assert lent["fromAccounts"] == [address]
    assert "fromAccounts" not in returned
