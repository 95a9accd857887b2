"""TRX that moves inside calls of contracts, and what a transaction's info says of it."""

from typing import Any

import pytest
from tronpy import AsyncTron
from tronpy.exceptions import ValidationError
from tronpy.keys import PrivateKey
from tronpy.providers import AsyncHTTPProvider

from support.chain import USDT, SandboxNode, address_of, new_key
from tron_sandbox.addresses import from_text, to_base58
from tron_sandbox.evm import TRX_PAYOUT

CONTRACT = to_base58(TRX_PAYOUT)
TRX = 1_000_000


async def rich(node: SandboxNode, trx: str = "1000") -> tuple[PrivateKey, str]:
    key = new_key()
    await node.admin("faucet", address=address_of(key), trx=trx)
    return key, address_of(key)


def client(node: SandboxNode) -> AsyncTron:
    return AsyncTron(AsyncHTTPProvider(node.url, timeout=10))


async def balance(node: SandboxNode, address: str) -> int:
    found = await node.ask("wallet/getaccount", address=address, visible=True)
    return int(found.get("balance", 0))


async def call(node: SandboxNode, key: PrivateKey, function: str, *arguments: Any, sun: int = 0) -> dict[str, Any]:
    async with client(node) as tron:
        contract = await tron.get_contract(CONTRACT)
        method = getattr(contract.functions, function).with_transfer(sun)
        builder = (await method(*arguments)).with_owner(address_of(key)).fee_limit(100 * TRX)
        sent = await (await builder.build()).sign(key).broadcast()
        await node.mine()
        info: dict[str, Any] = await node.ask("wallet/gettransactioninfobyid", value=sent.txid)
        return info


async def test_trx_that_arrives_inside_a_call_is_told(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    _, known = await rich(tron_node, trx="1")
    new = address_of(new_key())
    before = await balance(tron_node, sender)
    info = await call(tron_node, key, "pay", [known, new], [2 * TRX, 3 * TRX], sun=6 * TRX)
    shown = await tron_node.ask("wallet/gettransactioninfobyid", value=info["id"], visible=True)

    first, second = info["internal_transactions"]
    assert first["caller_address"] == TRX_PAYOUT.hex()
    assert first["transferTo_address"] == from_text(known).hex()
    assert first["callValueInfo"] == [{"callValue": 2 * TRX}]
    assert bytes.fromhex(first["note"]) == b"call"
    assert second["transferTo_address"] == from_text(new).hex()
    assert "rejected" not in first
    assert len({first["hash"], second["hash"]}) == 2
    assert shown["internal_transactions"][1]["transferTo_address"] == new
    assert await balance(tron_node, known) == 3 * TRX
    assert await balance(tron_node, new) == 3 * TRX
    assert await balance(tron_node, sender) == before - 6 * TRX - info["fee"]
    assert info["receipt"]["energy_usage_total"] > 25_000  # making an account inside a call costs as much


async def test_trx_of_a_call_that_is_taken_back_arrives_nowhere(tron_node: SandboxNode) -> None:
    key, _ = await rich(tron_node)
    _, recipient = await rich(tron_node, trx="1")
    info = await call(tron_node, key, "payInVain", recipient, 2 * TRX, sun=2 * TRX)

    assert info["receipt"]["result"] == "SUCCESS"
    outer, inner = info["internal_transactions"]
    assert outer["callValueInfo"] == [{}]
    assert inner["callValueInfo"] == [{"callValue": 2 * TRX}]
    assert (outer["rejected"], inner["rejected"]) == (True, True)
    assert await balance(tron_node, recipient) == TRX


async def test_trx_of_a_call_that_fails_goes_back(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    _, recipient = await rich(tron_node, trx="1")
    before = await balance(tron_node, sender)
    info = await call(tron_node, key, "pay", [recipient, recipient], [TRX, 10**15], sun=TRX)

    assert (info["result"], info["receipt"]["result"]) == ("FAILED", "REVERT")
    assert [one["rejected"] for one in info["internal_transactions"]] == [True]
    assert await balance(tron_node, recipient) == TRX
    assert await balance(tron_node, sender) == before - info["fee"]


async def test_a_fork_takes_trx_in_calls_back(tron_node: SandboxNode) -> None:
    key, _ = await rich(tron_node)
    _, recipient = await rich(tron_node, trx="1")
    await call(tron_node, key, "pay", [recipient], [TRX], sun=TRX)
    await tron_node.admin("fork", depth=1, drop=True)

    assert await balance(tron_node, recipient) == TRX


async def test_trx_for_a_token_is_refused_by_the_token(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    body = {"owner_address": sender, "contract_address": USDT, "function_selector": "symbol()", "visible": True}
    tried = await tron_node.ask("wallet/triggerconstantcontract", **body, call_value=TRX)
    poor = await tron_node.ask("wallet/triggerconstantcontract", **body, call_value=10**15)

    assert tried["transaction"]["ret"] == [{"ret": "FAILED"}]
    assert poor["result"]["code"] == "CONTRACT_VALIDATE_ERROR"
    with pytest.raises(ValidationError, match="balance is not sufficient"):
        await call(tron_node, key, "pay", [], [], sun=10**15)


async def test_what_waits_is_counted_when_more_is_sent(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node, trx="10")
    _, recipient = await rich(tron_node, trx="1")
    newcomer = new_key()
    async with client(tron_node) as tron:
        await (await tron.trx.transfer(sender, address_of(newcomer), 6 * TRX).build()).sign(key).broadcast()
        twice = await tron.trx.transfer(sender, recipient, 6 * TRX).build()
        with pytest.raises(ValidationError, match="balance is not sufficient"):
            await twice.sign(key).broadcast()
        # Java-tron, too, lets money that waits for its block be spent by the next transaction.
        onward = await tron.trx.transfer(address_of(newcomer), recipient, 5 * TRX).build()
        onward._permission = None
        await onward.sign(newcomer).broadcast()
        await tron_node.mine()

    assert await balance(tron_node, recipient) == 6 * TRX
