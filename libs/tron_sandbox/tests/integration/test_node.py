"""The node as unmodified tronpy and plain HTTP see it."""

import asyncio
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from tronpy import AsyncTron, Tron
from tronpy.exceptions import (
    AddressNotFound,
    BadSignature,
    BlockNotFound,
    TransactionError,
    TransactionNotFound,
    UnknownError,
    ValidationError,
)
from tronpy.keys import PrivateKey
from tronpy.providers import AsyncHTTPProvider, HTTPProvider

from support.chain import SOLID, USDT, SandboxNode, address_of, new_key, sandbox_node
from support.servers import free_port


async def rich(node: SandboxNode, trx: str = "1000", usdt: str = "500") -> tuple[PrivateKey, str]:
    key = new_key()
    await node.admin("faucet", address=address_of(key), trx=trx, usdt=usdt)
    return key, address_of(key)


def client(node: SandboxNode) -> AsyncTron:
    return AsyncTron(AsyncHTTPProvider(node.url, timeout=10))


async def send_usdt(
    tron: AsyncTron, node: SandboxNode, key: PrivateKey, to: str, units: int, fee_limit: int = 50_000_000
) -> dict[str, Any]:
    contract = await tron.get_contract(USDT)
    call = await contract.functions.transfer(to, units)
    tx = await call.with_owner(address_of(key)).fee_limit(fee_limit).build()
    sent = await tx.sign(key).broadcast()
    await node.mine()
    info: dict[str, Any] = await sent.wait(interval=0.05)
    return info


async def test_usdt_transfers_cost_what_mainnet_asks(tron_node: SandboxNode) -> None:
    key, _ = await rich(tron_node)
    recipient = address_of(new_key())
    async with client(tron_node) as tron:
        first = await send_usdt(tron, tron_node, key, recipient, 5_000_000)
        second = await send_usdt(tron, tron_node, key, recipient, 1)
        contract = await tron.get_contract(USDT)
        held = await contract.functions.balanceOf(recipient)

    assert held == 5_000_001
    assert first["receipt"]["net_usage"] == 345
    assert second["receipt"]["net_fee"] == 345_000  # the free bandwidth of the day is used up
    assert first["receipt"]["energy_usage_total"] == pytest.approx(130_285, rel=0.01)
    assert second["receipt"]["energy_usage_total"] == pytest.approx(64_285, rel=0.01)
    assert second["fee"] == second["receipt"]["energy_fee"] + 345_000
    assert int(first["contractResult"][0], 16) == 0  # transfer() returns false on success


async def test_activation_costs_one_trx_and_a_tenth(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node, trx="100")
    recipient = address_of(new_key())
    async with client(tron_node) as tron:
        for expected in (100_000, None):
            tx = await tron.trx.transfer(sender, recipient, 5_000_000).build()
            sent = await tx.sign(key).broadcast()
            await tron_node.mine()
            receipt = (await sent.wait(interval=0.05))["receipt"]
            assert receipt == ({"net_fee": 100_000} if expected else {"net_usage": 268})
        assert await tron.get_account_balance(sender) == Decimal("88.9")


async def test_what_broadcast_refuses(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    stranger = new_key()
    async with client(tron_node) as tron:
        tx = (await tron.trx.transfer(sender, address_of(stranger), 1_000_000).build()).sign(key)
        await tx.broadcast()
        with pytest.raises(UnknownError, match="DUP_TRANSACTION_ERROR"):
            await tx.broadcast()
        await tron_node.mine()
        with pytest.raises(UnknownError, match="DUP_TRANSACTION_ERROR"):
            await tx.broadcast()
        forged = (await tron.trx.transfer(sender, address_of(stranger), 2).build()).sign(key)
        forged._raw_data["contract"][0]["parameter"]["value"]["amount"] = 999
        with pytest.raises(BadSignature):
            await forged.broadcast()
        poor = await tron.trx.transfer(address_of(new_key()), sender, 2).build()
        poor._permission = None
        with pytest.raises(BadSignature):
            await poor.sign(stranger).broadcast()
        much = (await tron.trx.transfer(sender, address_of(stranger), 10**15).build()).sign(key)
        with pytest.raises(ValidationError, match="balance is not sufficient"):
            await much.broadcast()
        raw = await tron.trx.transfer(sender, address_of(stranger), 3).build()
        late = await (tron.trx.transfer(sender, address_of(stranger), 4).expiration(-120_000)).build()
        late.txid = late.txid or raw.txid
        late._signature = [key.sign_msg_hash(bytes.fromhex(late.txid)).hex()]
        with pytest.raises(TransactionError, match="expiration"):
            await late.broadcast()


async def test_failed_calls_burn_and_move_nothing(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    async with client(tron_node) as tron:
        contract = await tron.get_contract(USDT)
        short = await send_usdt(tron, tron_node, key, address_of(new_key()), 5, fee_limit=300_000)
        broke = await send_usdt(tron, tron_node, key, address_of(new_key()), 10**15)
        held = await contract.functions.balanceOf(sender)

    assert (short["result"], short["receipt"]["result"]) == ("FAILED", "OUT_OF_ENERGY")
    assert short["receipt"]["energy_fee"] == 300_000
    assert "log" not in short
    assert broke["receipt"]["result"] == "REVERT"
    assert held == 500_000_000


async def test_sync_tronpy_and_offline_builds_work(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    recipient = address_of(new_key())

    def play() -> str:
        tron = Tron(HTTPProvider(tron_node.url, timeout=10))
        contract = tron.get_contract(USDT)
        assert contract.functions.symbol() == "USDT"
        tx = contract.functions.transfer(recipient, 9).with_owner(sender).fee_limit(20_000_000).build()
        txid: str = tx.sign(key).broadcast().txid
        tron.provider.sess.close()
        return txid

    txid = await asyncio.to_thread(play)
    async with client(tron_node) as tron:
        reference = await tron.get_latest_solid_block_id()
        offline = await tron.trx.transfer(sender, recipient, 7).build(offline=True, ref_block_id=reference)
        await tron.broadcast(offline.sign(key))
        await tron_node.mine()
        assert (await tron.get_transaction_info(txid))["receipt"]["result"] == "SUCCESS"
        assert await tron.get_account_balance(recipient) == Decimal("0.000007")


async def test_what_is_not_there_is_not_found(tron_node: SandboxNode) -> None:
    async with client(tron_node) as tron:
        with pytest.raises(BlockNotFound):
            await tron.get_block(10**9)
        with pytest.raises(TransactionNotFound):
            await tron.get_transaction("00" * 32)
        with pytest.raises(AddressNotFound):
            await tron.get_account(address_of(new_key()))
    assert await tron_node.ask("wallet/gettransactioninfobyblocknum", num=10**9) == []
    assert await tron_node.ask("wallet/gettransactioninfobyblocknum", num=0) == {}
    assert await tron_node.ask("wallet/getcontract", value=address_of(new_key()), visible=True) == {}


async def test_blocks_link_and_only_old_ones_are_solid(tron_node: SandboxNode) -> None:
    await tron_node.mine(5)
    head = await tron_node.ask("wallet/getnowblock")
    solid = await tron_node.ask("walletsolidity/getnowblock")
    number = head["block_header"]["raw_data"]["number"]
    assert solid["block_header"]["raw_data"]["number"] == number - SOLID
    for height in range(number - 4, number + 1):
        block = await tron_node.ask("wallet/getblockbynum", num=height)
        below = await tron_node.ask("wallet/getblockbynum", num=height - 1)
        assert block["block_header"]["raw_data"]["parentHash"] == below["blockID"]
        assert int(block["blockID"][:16], 16) == height
        assert block["block_header"]["raw_data"]["txTrieRoot"] == "0" * 64
        assert "transactions" not in block


async def test_a_transfer_is_solid_only_after_enough_blocks(tron_node: SandboxNode) -> None:
    key, _ = await rich(tron_node)
    async with client(tron_node) as tron:
        info = await send_usdt(tron, tron_node, key, address_of(new_key()), 5)
        body = {"value": info["id"]}
        assert await tron_node.ask("walletsolidity/gettransactioninfobyid", **body) == {}
        await tron_node.mine(SOLID)
        assert (await tron_node.ask("walletsolidity/gettransactioninfobyid", **body))["id"] == info["id"]


@pytest.mark.parametrize("drop", [False, True])
async def test_a_fork_takes_blocks_back(tron_node: SandboxNode, drop: bool) -> None:
    key, sender = await rich(tron_node)
    recipient = address_of(new_key())
    await tron_node.mine(SOLID)
    async with client(tron_node) as tron:
        contract = await tron.get_contract(USDT)
        info = await send_usdt(tron, tron_node, key, recipient, 77)
        before = await tron_node.ask("wallet/getnowblock")
        await tron_node.admin("fork", depth=1, drop=drop)
        after = await tron_node.ask("wallet/getnowblock")
        assert after["blockID"] != before["blockID"]
        assert after["blockID"][:16] == before["blockID"][:16]
        assert await tron_node.ask("wallet/gettransactioninfobyid", value=info["id"]) == {}
        assert await contract.functions.balanceOf(recipient) == 0
        assert await contract.functions.balanceOf(sender) == 500_000_000
        await tron_node.mine()
        assert await contract.functions.balanceOf(recipient) == (0 if drop else 77)


async def test_a_solid_block_is_never_forked_away(tron_node: SandboxNode) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{tron_node.url}/admin/fork", json={"depth": SOLID + 1})
    assert answer.status_code == 422


async def test_the_chain_is_whole_after_kill_9(tmp_path: Path) -> None:
    state, port = tmp_path / "chain.jsonl", free_port()
    with sandbox_node(state, port, signal.SIGKILL) as node:
        key, sender = await rich(node)
        async with client(node) as tron:
            info = await send_usdt(tron, node, key, address_of(new_key()), 5)
        await node.admin("fork", depth=2)
        await node.settle()
        before = await node.ask("wallet/getnowblock")
    with state.open("a") as torn:
        torn.write('{"t":17')

    with sandbox_node(state, port) as node:
        after = await node.ask("wallet/getnowblock")
        again = await node.ask("wallet/gettransactioninfobyid", value=info["id"])
        account = await node.ask("wallet/getaccount", address=sender, visible=True)
        await node.mine()

    assert after == before
    assert again["receipt"] == info["receipt"]
    assert account["balance"] < 1_000_000_000


@pytest.mark.parametrize(
    ("kind", "status"), [("429", 429), ("403", 403), ("503", 503), ("html", 502), ("error", 200)]
)
async def test_faults_strike_as_often_as_told(tron_node: SandboxNode, kind: str, status: int) -> None:
    await tron_node.admin("faults", endpoint="getnowblock", kind=kind, count=2)
    async with httpx.AsyncClient() as http:
        codes = [(await http.post(f"{tron_node.url}/wallet/getnowblock")).status_code for _ in range(3)]
    assert codes == [status, status, 200]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
async def test_a_dropped_answer_is_no_answer(tron_node: SandboxNode, kind: str) -> None:
    await tron_node.admin("faults", endpoint="*", kind=kind, count=1)
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(f"{tron_node.url}/wallet/getnowblock")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("wallet/broadcasttransaction", b"{"),
        ("wallet/broadcasttransaction", b"[]"),
        ("wallet/broadcasttransaction", b"{}"),
        ("wallet/broadcasttransaction", b'{"raw_data": {"contract": [{"type": "VoteWitnessContract"}]}}'),
        ("wallet/broadcasthex", b'{"transaction": "zz"}'),
        ("wallet/broadcasthex", b'{"transaction": "ffff"}'),
        ("wallet/getblockbynum", b'{"num": "x"}'),
        ("wallet/getblockbynum", b'{"num": []}'),
        ("wallet/getaccount", b'{"address": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u"}'),
        ("wallet/getaccount", b'{"address": 5}'),
        ("wallet/createtransaction", b'{"owner_address": "41", "amount": -1}'),
        ("wallet/getsignweight", b'{"raw_data": 1}'),
    ],
)
async def test_bad_input_is_answered_as_java_tron_does(tron_node: SandboxNode, path: str, body: bytes) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{tron_node.url}/{path}", content=body)
    assert answer.status_code == 200
    assert answer.json()["Error"].startswith("class ")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("faucet", {}),
        ("faucet", {"address": "nonsense"}),
        ("faucet", {"address": USDT, "trx": "-1"}),
        ("faucet", {"address": USDT, "usdt": "0.0000001"}),
        ("mine", {"blocks": 0}),
        ("mine", {"blocks": "many"}),
        ("fork", {"depth": True}),
        ("faults", {"endpoint": "x", "kind": "earthquake"}),
    ],
)
async def test_bad_admin_calls_are_explained(tron_node: SandboxNode, name: str, body: dict[str, Any]) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{tron_node.url}/admin/{name}", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]


async def test_requests_are_counted(tron_node: SandboxNode) -> None:
    await tron_node.admin("requests", clear=True)
    await tron_node.ask("wallet/getnowblock")
    await tron_node.ask("wallet/getnowblock")
    assert await tron_node.admin("requests") == {"wallet/getnowblock": 2}
