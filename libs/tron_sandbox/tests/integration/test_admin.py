"""What tests do to the chain: fees, the token's owner, solidity, resources and the clock."""

import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tronpy import AsyncTron
from tronpy.exceptions import TaposError, TransactionError
from tronpy.keys import PrivateKey
from tronpy.providers import AsyncHTTPProvider

from support.chain import SOLID, USDT, SandboxNode, address_of, new_key, sandbox_node
from support.servers import free_port

MAINNET = {
    "getEnergyFee": 100,
    "getTransactionFee": 1000,
    "getCreateAccountFee": 100_000,
    "getCreateNewAccountFeeInSystemContract": 1_000_000,
    "getMemoFee": 1_000_000,
    "getMaxFeeLimit": 15_000_000_000,
    "getFreeNetLimit": 600,
}


async def rich(node: SandboxNode, trx: str = "1000", usdt: str = "500") -> tuple[PrivateKey, str]:
    key = new_key()
    await node.admin("faucet", address=address_of(key), trx=trx, usdt=usdt)
    return key, address_of(key)


def client(node: SandboxNode) -> AsyncTron:
    return AsyncTron(AsyncHTTPProvider(node.url, timeout=10))


async def send(node: SandboxNode, key: PrivateKey, builder: Any) -> dict[str, Any]:
    sent = await (await builder.build()).sign(key).broadcast()
    await node.mine()
    info: dict[str, Any] = await sent.wait(interval=0.05)
    return info


async def usdt_transfer(
    tron: AsyncTron, node: SandboxNode, key: PrivateKey, to: str, units: int
) -> dict[str, Any]:
    contract = await tron.get_contract(USDT)
    call = (await contract.functions.transfer(to, units)).with_owner(address_of(key)).fee_limit(50_000_000)
    return await send(node, key, call)


async def height(node: SandboxNode, api: str) -> int:
    block = await node.ask(f"{api}/getnowblock")
    return int(block["block_header"]["raw_data"]["number"])


async def test_fees_are_what_they_are_set_to(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    fees = {
        "getEnergyFee": 420,
        "getTransactionFee": 10,
        "getCreateAccountFee": 7,
        "getCreateNewAccountFeeInSystemContract": 5,
        "getMemoFee": 3,
        "getFreeNetLimit": 0,
    }
    try:
        await tron_node.admin("parameters", **fees)
        listed = await tron_node.ask("wallet/getchainparameters")
        async with client(tron_node) as tron:
            stranger = address_of(new_key())
            activated = await send(tron_node, key, tron.trx.transfer(sender, stranger, 1_000_000).memo("hello"))
            paid = await usdt_transfer(tron, tron_node, key, stranger, 5)
    finally:
        restored = await tron_node.admin("parameters", **MAINNET)

    assert restored == MAINNET
    assert fees.items() <= {one["key"]: one["value"] for one in listed["chainParameter"]}.items()
    assert activated["fee"] == 7 + 5 + 3
    assert paid["receipt"]["net_fee"] == 345 * 10
    assert paid["receipt"]["energy_fee"] == paid["receipt"]["energy_usage_total"] * 420


async def test_the_tokens_owner_pauses_blacklists_and_takes_a_fee(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node, usdt="500")
    _, recipient = await rich(tron_node, usdt="1")
    async with client(tron_node) as tron:
        await tron_node.admin("token", pause=True)
        paused = await usdt_transfer(tron, tron_node, key, recipient, 1_000_000)
        await tron_node.admin("token", pause=False, blacklist=sender)
        listed = await usdt_transfer(tron, tron_node, key, recipient, 1_000_000)
        await tron_node.admin("token", unblacklist=sender, fee_basis_points=100, maximum_fee=50_000)
        charged = await usdt_transfer(tron, tron_node, key, recipient, 3_000_000)
        await tron_node.admin("token", fee_basis_points=0, maximum_fee=0)
        free = await usdt_transfer(tron, tron_node, key, recipient, 3_000_000)

    for refused, reason in ((paused, b"paused"), (listed, b"blacklisted")):
        assert (refused["result"], refused["receipt"]["result"]) == ("FAILED", "REVERT")
        assert reason in bytes.fromhex(refused["contractResult"][0])
    assert [int(log["data"], 16) for log in charged["log"]] == [2_970_000, 30_000]
    assert [int(log["data"], 16) for log in free["log"]] == [3_000_000]


async def test_solidity_stops_and_catches_up(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    solid = await height(tron_node, "walletsolidity")
    try:
        await tron_node.admin("stop_solid", stop=True)
        async with client(tron_node) as tron:
            sent = await send(tron_node, key, tron.trx.transfer(sender, address_of(new_key()), 1))
        await tron_node.mine(SOLID + 5)
        stopped = await height(tron_node, "walletsolidity")
        unseen = await tron_node.ask("walletsolidity/gettransactioninfobyid", value=sent["id"])
        before = await tron_node.ask("walletsolidity/getaccount", address=sender, visible=True)
        await tron_node.admin("fork", depth=SOLID + 4)
    finally:
        await tron_node.admin("stop_solid", stop=False)

    assert stopped == solid
    assert unseen == {}
    assert before == {}
    assert await height(tron_node, "walletsolidity") == await height(tron_node, "wallet") - SOLID


async def test_resources_are_used_up_on_demand(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    _, recipient = await rich(tron_node)
    await tron_node.admin("resources", address=sender, free_bandwidth=100)
    net = await tron_node.ask("wallet/getaccountnet", address=sender, visible=True)
    async with client(tron_node) as tron:
        sent = await send(tron_node, key, tron.trx.transfer(sender, recipient, 1))

    assert net["freeNetUsed"] == 500
    assert sent["receipt"] == {"net_fee": 265_000}


async def test_block_times_can_differ_from_the_wall_clock() -> None:
    with sandbox_node() as node:
        key, sender = await rich(node)
        told = await node.admin("clock", skew=90)
        await node.mine()
        ahead = await node.ask("wallet/getnowblock")
        async with client(node) as tron:
            late = await tron.trx.transfer(sender, address_of(new_key()), 1).build()
            with pytest.raises(TransactionError, match="headBlockTime"):
                await late.sign(key).broadcast()
        await node.admin("clock", skew=0)
        await node.mine()
        after = await node.ask("wallet/getnowblock")

    assert told["skew"] == 90
    seconds = ahead["block_header"]["raw_data"]["timestamp"] / 1000 - time.time()
    assert 60 < seconds <= 90
    # Time never runs back: blocks wait for the wall clock to come up to them.
    assert after["block_header"]["raw_data"]["timestamp"] == ahead["block_header"]["raw_data"]["timestamp"]


async def test_what_expires_while_it_waits_is_dropped() -> None:
    with sandbox_node() as node:
        key, sender = await rich(node)
        async with client(node) as tron:
            sent = await send(node, key, tron.trx.transfer(sender, address_of(new_key()), 1))
        await node.admin("clock", skew=90)
        await node.admin("fork", depth=1)
        await node.mine()

        assert await node.ask("wallet/gettransactioninfobyid", value=sent["id"]) == {}


async def test_what_refers_to_a_block_that_went_dies_with_it() -> None:
    with sandbox_node() as node:
        key, sender = await rich(node)
        await node.mine()
        head = (await node.ask("wallet/getnowblock"))["blockID"]
        async with client(node) as tron:
            builder = tron.trx.transfer(sender, address_of(new_key()), 1)
            tx = (await builder.build(offline=True, ref_block_id=head)).sign(key)
            await tron.broadcast(tx)
            await node.admin("fork", depth=1)
            await node.mine()
            assert await node.ask("wallet/gettransactioninfobyid", value=tx.txid) == {}
            with pytest.raises(TaposError):
                await tron.broadcast(tx)


async def test_all_of_it_is_whole_after_kill_9(tmp_path: Path) -> None:
    state, port = tmp_path / "chain.jsonl", free_port()

    async def look(node: SandboxNode) -> list[Any]:
        return [
            await node.admin("parameters"),
            await node.admin("clock"),
            await node.ask("wallet/getaccountresource", address=sender, visible=True),
            await node.ask("wallet/getnowblock"),
            await node.ask("walletsolidity/getnowblock"),
            await node.ask("wallet/gettransactioninfobyid", value=paused["id"]),
        ]

    with sandbox_node(state, port, signal.SIGKILL) as node:
        key, sender = await rich(node)
        await node.admin("parameters", getEnergyFee=210)
        await node.admin("token", pause=True)
        await node.admin("stop_solid", stop=True)
        await node.admin("clock", skew=-30)
        async with client(node) as tron:
            paused = await usdt_transfer(tron, node, key, sender, 1)
        await node.mine(SOLID)
        await node.admin("resources", address=sender, free_bandwidth=1, energy=0)
        before = await look(node)

    with sandbox_node(state, port) as node:
        assert await look(node) == before


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("parameters", {"getEnergyFee": 0}),
        ("parameters", {"getEnergyFee": "420"}),
        ("parameters", {"getNothing": 1}),
        ("token", {}),
        ("token", {"pause": "maybe"}),
        ("token", {"blacklist": "T"}),
        ("token", {"fee_basis_points": 1}),
        ("token", {"fee_basis_points": 10_001, "maximum_fee": 1}),
        ("token", {"pause": True, "token": "41" + "00" * 20}),
        ("stop_solid", {}),
        ("resources", {"address": USDT, "free_bandwidth": -1}),
        ("resources", {"address": "41" + "00" * 20, "energy": 1}),
        ("clock", {"skew": 91}),
        ("clock", {"skew": 1.5}),
        ("clock", {"forward": 1}),
    ],
)
async def test_bad_calls_are_explained(tron_node: SandboxNode, name: str, body: dict[str, Any]) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{tron_node.url}/admin/{name}", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]
