"""One's own contracts: made and called by unmodified tronpy, with what the TVM does and does not run."""

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak
from tronpy import AsyncTron
from tronpy.async_contract import AsyncContract
from tronpy.exceptions import TvmError, ValidationError
from tronpy.keys import PrivateKey
from tronpy.providers import AsyncHTTPProvider

from support.chain import USDT, SandboxNode, address_of, new_key
from tron_sandbox.addresses import from_text

OWN = json.loads((Path(__file__).parent / "contracts/own.json").read_text())["Own"]
TRX = 1_000_000
RETURN_NOTHING = "608080600b6000396000f3"
"""The constructor of a contract whose code is what follows, 128 bytes at most."""


async def rich(node: SandboxNode, trx: str = "5000") -> tuple[PrivateKey, str]:
    key = new_key()
    await node.admin("faucet", address=address_of(key), trx=trx)
    return key, address_of(key)


def client(node: SandboxNode) -> AsyncTron:
    return AsyncTron(AsyncHTTPProvider(node.url, timeout=10))


async def send(node: SandboxNode, key: PrivateKey, builder: Any) -> dict[str, Any]:
    sent = await (await builder.build()).sign(key).broadcast()
    await node.mine()
    info: dict[str, Any] = await node.ask("wallet/gettransactioninfobyid", value=sent.txid)
    return info


async def deploy(
    node: SandboxNode, key: PrivateKey, code: str, sun: int = 0, abi: Any = (), percent: int = 100
) -> dict[str, Any]:
    """Make a contract as tronweb and plain HTTP do: the node builds the transaction, the caller signs."""
    unsigned = await node.ask(
        "wallet/deploycontract",
        owner_address=from_text(address_of(key)).hex(),
        abi=json.dumps(list(abi)),
        bytecode=code,
        name="Own",
        call_value=sun,
        fee_limit=1_000 * TRX,
        consume_user_resource_percent=percent,
        origin_energy_limit=10_000_000,
    )
    assert "Error" not in unsigned, unsigned
    signature = key.sign_msg_hash(bytes.fromhex(unsigned["txID"])).hex()
    sent = await node.ask("wallet/broadcasttransaction", **unsigned, signature=[signature])
    assert sent.get("result") is True, sent
    await node.mine()
    info: dict[str, Any] = await node.ask("wallet/gettransactioninfobyid", value=sent["txid"])
    assert info["contract_address"] == unsigned["contract_address"]
    return info


async def own(node: SandboxNode, key: PrivateKey, value: int = 41, sun: int = 0, percent: int = 100) -> str:
    code = OWN["bytecode"] + encode(["uint256"], [value]).hex()
    info = await deploy(node, key, code, sun, OWN["abi"], percent)
    assert info["receipt"]["result"] == "SUCCESS", info
    return str(info["contract_address"])


async def call(node: SandboxNode, key: PrivateKey, to: str, function: str, *arguments: Any, sun: int = 0) -> Any:
    async with client(node) as tron:
        method = getattr((await tron.get_contract(to)).functions, function).with_transfer(sun)
        builder = (await method(*arguments)).with_owner(address_of(key)).fee_limit(1_000 * TRX)
        return await send(node, key, builder)


async def test_tronpy_makes_a_contract_and_calls_it(tron_node: SandboxNode) -> None:
    key, maker = await rich(tron_node)
    async with client(tron_node) as tron:
        code = OWN["bytecode"] + encode(["uint256"], [41]).hex()
        new = AsyncContract(name="Own", bytecode=code, abi=OWN["abi"])
        builder = tron.trx.deploy_contract(maker, new).fee_limit(1_000 * TRX)
        made = await send(tron_node, key, builder)
        contract = await tron.get_contract(made["contract_address"])
        functions = contract.functions
        first = await functions.value()
        stored = await send(
            tron_node, key, (await functions.store(42, "noted")).with_owner(maker).fee_limit(100 * TRX)
        )
        second, maker_seen = await functions.value(), await functions.maker()
        contract.abi = OWN["abi"]  # an ABI on the chain has no components of tuples
        pair = await contract.functions.pair()
        with pytest.raises(TvmError):
            await tron.trigger_const_smart_contract_function(
                maker, str(contract.contract_address), "atLeast(uint256)", "ff".rjust(64, "0")
            )

    runtime = bytes.fromhex(made["contractResult"][0])
    assert made["receipt"]["energy_usage_total"] > 200 * len(runtime)
    assert (first, second, pair) == (41, 42, (42, "kept"))
    assert maker_seen == maker
    assert contract.name == "Own"
    (log,) = stored["log"]
    assert log["address"] == made["contract_address"][2:]
    assert log["topics"][0] == keccak(text="Stored(address,uint256,string)").hex()
    shown = await tron_node.ask("wallet/getcontract", value=made["contract_address"])
    assert {"name": "value_", "type": "uint256"} in shown["abi"]["entrys"][0]["inputs"]
    assert shown["origin_address"] == from_text(maker).hex()
    info = await tron_node.ask("wallet/getcontractinfo", value=made["contract_address"])
    assert info["runtimecode"] == runtime.hex()
    account = await tron_node.ask("wallet/getaccount", address=made["contract_address"])
    assert account["type"] == "Contract"


async def test_a_constructor_takes_trx(tron_node: SandboxNode) -> None:
    key, _ = await rich(tron_node)
    address = await own(tron_node, key, sun=5 * TRX)

    assert (await tron_node.ask("wallet/getaccount", address=address))["balance"] == 5 * TRX


async def test_contracts_see_their_block(tron_node: SandboxNode) -> None:
    key, _ = await rich(tron_node)
    address = await own(tron_node, key, sun=3 * TRX)
    head = await tron_node.ask("wallet/getnowblock")
    async with client(tron_node) as tron:
        functions = (await tron.get_contract(address)).functions
        number, seconds, balance, chain_id, parent = await functions.here()
        shifted = await functions.shift(8)

    raw = head["block_header"]["raw_data"]
    assert (number, seconds, balance) == (raw["number"], raw["timestamp"] // 1000, 3 * TRX)
    assert chain_id > 0
    assert parent.hex() == raw["parentHash"]
    assert shifted == 2**256 - 256


async def test_failures_have_their_names(tron_node: SandboxNode) -> None:
    key, _ = await rich(tron_node)
    address = await own(tron_node, key)
    reverted = await call(tron_node, key, address, "atLeast", 100)
    divided = await call(tron_node, key, address, "halve", 0)
    spun = await call(tron_node, key, address, "spin")

    assert reverted["receipt"]["result"] == "REVERT"
    assert reverted["contractResult"][0].startswith(keccak(text="TooSmall(uint256,uint256)")[:4].hex())
    assert bytes.fromhex(reverted["resMessage"]) == b"REVERT opcode executed"
    assert divided["contractResult"][0].startswith("4e487b71")  # Panic(uint256)
    assert spun["receipt"]["result"] == "OUT_OF_ENERGY"
    assert spun["receipt"]["energy_usage_total"] == 10_000_000
    assert bytes.fromhex(spun["resMessage"]).startswith(b"Not enough energy for '")


@pytest.mark.parametrize("salt", [bytes(32), b"salt".rjust(32, b"\0")])
async def test_contracts_make_and_end_contracts(tron_node: SandboxNode, salt: bytes) -> None:
    key, maker = await rich(tron_node)
    address = await own(tron_node, key)
    born = await call(tron_node, key, address, "bear", salt, sun=2 * TRX)
    (made,) = born["internal_transactions"]
    child = made["transferTo_address"]
    alive = await tron_node.ask("wallet/getcontract", value=child)
    before = (await tron_node.ask("wallet/getaccount", address=maker, visible=True))["balance"]
    ended = await call(tron_node, key, address, "endChild", maker)
    after = (await tron_node.ask("wallet/getaccount", address=maker, visible=True))["balance"]

    assert (bytes.fromhex(made["note"]), made["callValueInfo"]) == (b"create", [{"callValue": 2 * TRX}])
    assert alive["contract_address"] == child
    notes = [bytes.fromhex(one["note"]) for one in ended["internal_transactions"]]
    assert notes == [b"call", b"suicide"]
    assert ended["internal_transactions"][1]["callValueInfo"] == [{"callValue": 2 * TRX}]
    assert after == before + 2 * TRX - ended["fee"]
    assert await tron_node.ask("wallet/getcontract", value=child) == {}
    assert await tron_node.ask("wallet/getaccount", address=child) == {}


async def test_a_fork_takes_a_new_contract_back(tron_node: SandboxNode) -> None:
    key, _ = await rich(tron_node)
    address = await own(tron_node, key)
    await tron_node.admin("fork", depth=1, drop=True)

    assert await tron_node.ask("wallet/getcontract", value=address) == {}


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("d0", "CALLTOKEN"),
        ("d1", "TOKENBALANCE"),
        ("d8", "VOTEWITNESS"),
        ("da", "FREEZEBALANCEV2"),
        ("df", "UNDELEGATERESOURCE"),
        # A call of the precompiled contract 9, which only Tron has.
        ("600060006000600060006009620f4240f1" + "60005260206000f3", "batchvalidatesign"),
    ],
)
async def test_what_only_tron_runs_is_refused_by_name(tron_node: SandboxNode, code: str, name: str) -> None:
    key, sender = await rich(tron_node)
    info = await deploy(tron_node, key, RETURN_NOTHING + code.ljust(256, "0"))
    tried = await tron_node.ask(
        "wallet/triggerconstantcontract",
        owner_address=from_text(sender).hex(),
        contract_address=info["contract_address"],
        data="00",
    )

    if name == "batchvalidatesign":  # a failure inside a call fails that call alone
        assert tried["constant_result"] == ["0" * 64]
    else:
        assert tried["transaction"]["ret"] == [{"ret": "FAILED"}]
        assert name in bytes.fromhex(tried["result"]["message"]).decode()


async def test_is_contract_is_answered(tron_node: SandboxNode) -> None:
    key, sender = await rich(tron_node)
    for address, expected in ((USDT, 1), (sender, 0)):
        code = f"73{from_text(address).hex()[2:]}d460005260206000f3"
        info = await deploy(tron_node, key, RETURN_NOTHING + code.ljust(256, "0"))
        tried = await tron_node.ask(
            "wallet/triggerconstantcontract",
            owner_address=from_text(sender).hex(),
            contract_address=info["contract_address"],
            data="00",
        )
        assert int(tried["constant_result"][0], 16) == expected


async def test_a_maker_pays_a_part_of_the_energy(tron_node: SandboxNode) -> None:
    key, maker = await rich(tron_node, trx="200000")
    caller, _ = await rich(tron_node)
    async with client(tron_node) as tron:
        await send(tron_node, key, tron.trx.freeze_balance(maker, 150_000 * TRX, "ENERGY"))
    address = await own(tron_node, key, percent=30)
    receipt = (await call(tron_node, caller, address, "store", 1, "x"))["receipt"]

    assert receipt["origin_energy_usage"] == receipt["energy_usage_total"] * 70 // 100
    assert receipt["energy_fee"] == (receipt["energy_usage_total"] - receipt["origin_energy_usage"]) * 100


async def test_a_new_contract_is_estimated(tron_node: SandboxNode) -> None:
    key, maker = await rich(tron_node)
    code = OWN["bytecode"] + encode(["uint256"], [41]).hex()
    tried = await tron_node.ask("wallet/triggerconstantcontract", owner_address=maker, data=code, visible=True)
    estimated = await tron_node.ask("wallet/estimateenergy", owner_address=maker, data=code, visible=True)
    made = await deploy(tron_node, key, code)

    assert tried["energy_used"] == estimated["energy_required"] == made["receipt"]["energy_usage_total"]
    assert tried["constant_result"] == made["contractResult"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": "x" * 33}, "contractName's length cannot be greater than 32"),
        ({"consume_user_resource_percent": 101}, "percent must be >= 0 and <= 100"),
        ({"origin_energy_limit": 0}, "The originEnergyLimit must be > 0"),
        ({"call_value": -1}, "callValue must be >= 0"),
        ({"call_value": 10**15}, "balance is not sufficient"),
        ({"fee_limit": 10**12}, "feeLimit must be >= 0 and <= 15000000000"),
        ({"token_id": 1_000_001}, "no TRC-10"),
    ],
)
async def test_what_can_not_be_made_is_told(tron_node: SandboxNode, change: dict[str, Any], text: str) -> None:
    key, maker = await rich(tron_node, trx="100")
    body = {
        "owner_address": maker,
        "bytecode": RETURN_NOTHING,
        "name": "Own",
        "consume_user_resource_percent": 100,
        "origin_energy_limit": 1,
        "visible": True,
    }
    unsigned = await tron_node.ask("wallet/deploycontract", **(body | change))

    assert "txID" in unsigned  # java-tron checks a contract's making only when it is broadcast
    signature = key.sign_msg_hash(bytes.fromhex(unsigned["txID"])).hex()
    answer = await tron_node.ask("wallet/broadcasttransaction", **unsigned, signature=[signature])
    assert answer["code"] == "CONTRACT_VALIDATE_ERROR"
    assert text in bytes.fromhex(answer["message"]).decode()


async def test_a_wrong_origin_is_refused(tron_node: SandboxNode) -> None:
    key, maker = await rich(tron_node)
    async with client(tron_node) as tron:
        builder = tron.trx.deploy_contract(maker, AsyncContract(bytecode="00", abi=[]))
        builder._raw_data["contract"][0]["parameter"]["value"]["new_contract"]["origin_address"] = from_text(
            USDT
        ).hex()
        with pytest.raises(ValidationError, match="OwnerAddress is not equals OriginAddress"):
            await send(tron_node, key, builder.fee_limit(TRX))
