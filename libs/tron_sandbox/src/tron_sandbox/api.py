"""java-tron's HTTP API over a chain: the same paths, the same JSON, the same errors."""

from collections.abc import Callable
from typing import Any

from eth_utils import keccak

from tron_sandbox import addresses
from tron_sandbox.chain import Block, Chain, Refused
from tron_sandbox.evm import Execution
from tron_sandbox.executor import ContractError, logs_json
from tron_sandbox.protocol import Json, ProtocolError, Tx
from tron_sandbox.staking import MOST_LOCK_BLOCKS, MOST_UNSTAKED, NAMES, UNSTAKE_MS, lendable
from tron_sandbox.world import (
    BANDWIDTH,
    ENERGY,
    FREE_BANDWIDTH,
    TOTAL_LIMITS,
    TOTAL_WEIGHTS,
    WINDOW_MS,
    Account,
    used_at,
)

DEFAULT_EXPIRATION_MS = 60_000

Answer = Json | list[Json]
Endpoint = Callable[["View", Json], Answer]


class View:
    """The chain as one of the two APIs shows it: the head (`wallet`) or what is solid (`walletsolidity`)."""

    def __init__(self, chain: Chain, *, solid: bool) -> None:
        self.chain = chain
        self.solid = solid

    @property
    def top(self) -> Block:
        """The newest block that this API shows."""
        number = self.chain.solid_number if self.solid else self.chain.head.number
        return self.chain.blocks[number]

    def block(self, number: int) -> Block | None:
        """Return a block that this API shows."""
        return self.chain.block(number, solid=self.solid)


def fault(name: str, text: str) -> Json:
    """Return what java-tron answers, with status 200, when a servlet throws."""
    return {"Error": f"class {name} : {text}"}


def _visible(body: Json) -> bool:
    return body.get("visible") in (True, "true")


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ProtocolError("INVALID num")
    try:
        return int(value)
    except ValueError as error:
        raise ProtocolError(f'For input string: "{str(value)[:64]}"') from error


def _txid(body: Json) -> bytes:
    value = body.get("value")
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""


def get_now_block(view: View, _: Json) -> Answer:
    """The newest block; the body is ignored, as java-tron does."""
    return view.top.to_json(visible=False)


def get_block_by_num(view: View, body: Json) -> Answer:
    """A block by its number."""
    block = view.block(_number(body.get("num", 0)))
    return block.to_json(visible=_visible(body)) if block else {}


def get_block_by_id(view: View, body: Json) -> Answer:
    """A block by its id."""
    block = _by_id(view, _txid(body))
    return block.to_json(visible=_visible(body)) if block else {}


def _by_id(view: View, block_id: bytes) -> Block | None:
    if len(block_id) != 32:
        return None
    block = view.block(int.from_bytes(block_id[:8], "big"))
    return block if block and block.id == block_id else None


def get_block(view: View, body: Json) -> Answer:
    """A block by number or id, or the newest; without `detail` its header alone."""
    wanted = body.get("id_or_num")
    block: Block | None = view.top
    if wanted not in (None, ""):
        text = str(wanted)
        block = _by_id(view, bytes.fromhex(text)) if len(text) == 64 else view.block(_number(text))
    detail = body.get("detail") in (True, "true")
    return block.to_json(visible=_visible(body), detail=detail) if block else {}


def get_block_by_limit_next(view: View, body: Json) -> Answer:
    """Blocks from `startNum` to before `endNum`, a hundred at most."""
    start, end = _number(body.get("startNum", 0)), _number(body.get("endNum", 0))
    if start < 0 or end <= 0 or start >= end or end - start > 100:
        return {}
    found = [view.block(number) for number in range(start, end)]
    return {"block": [b.to_json(visible=_visible(body)) for b in found if b]}


def get_block_by_latest_num(view: View, body: Json) -> Answer:
    """The newest blocks, a hundred at most."""
    count = _number(body.get("num", 0))
    if not 0 < count < 100:
        return {}
    top = view.top.number
    found = [view.block(number) for number in range(max(0, top - count + 1), top + 1)]
    return {"block": [b.to_json(visible=_visible(body)) for b in found if b]}


def get_transaction_by_id(view: View, body: Json) -> Answer:
    """A transaction in a block."""
    place = view.chain.find(_txid(body), solid=view.solid)
    if place is None:
        return {}
    block, index = place
    found = block.txs[index].to_json(visible=_visible(body), result=block.results[index])
    return {key: value for key, value in found.items() if key != "visible"}


def get_transaction_info_by_id(view: View, body: Json) -> Answer:
    """What a transaction did and cost."""
    txid = _txid(body)
    if view.chain.find(txid, solid=view.solid) is None:
        return {}
    return _show_info(view.chain.infos[txid], visible=_visible(body))


def get_transaction_info_by_block_num(view: View, body: Json) -> Answer:
    """The infos of a block's transactions; `[]` for an empty block and for one that is not there yet."""
    number = _number(body.get("num", 0))
    if number <= 0:
        return {}
    block = view.block(number)
    infos = [view.chain.infos[tx.txid] for tx in block.txs] if block else []
    return [_show_info(info, visible=_visible(body)) for info in infos]


def _show_info(info: Json, *, visible: bool) -> Json:
    if not visible:
        return info
    shown = dict(info)
    if "contract_address" in info:
        shown["contract_address"] = addresses.to_base58(bytes.fromhex(info["contract_address"]))
    if "resMessage" in info:
        shown["resMessage"] = bytes.fromhex(info["resMessage"]).decode()
    if "log" in info:
        shown["log"] = [
            {**log, "address": addresses.to_base58(addresses.PREFIX + bytes.fromhex(log["address"]))}
            for log in info["log"]
        ]
    return shown


def get_account(view: View, body: Json) -> Answer:
    """An account; `{}` while it is not activated. Balances are the head's in both APIs but for `solid` money."""
    address = addresses.from_text(body.get("address"))
    account = view.chain.account(address, solid=view.solid)
    if account is None:
        return {}
    shown = addresses.to_text(address, visible=_visible(body))
    keys = [{"address": shown, "weight": 1}]
    found: Json = {
        "address": shown,
        "balance": account.balance,
        "create_time": account.create_time,
        "net_window_size": 28_800_000,
        "net_window_optimized": True,
        "owner_permission": {"permission_name": "owner", "threshold": 1, "keys": keys},
        "active_permission": [
            {
                "type": "Active",
                "id": 2,
                "permission_name": "active",
                "threshold": 1,
                "operations": "7fff1fc0033ec30f000000000000000000000000000000000000000000000000",
                "keys": keys,
            }
        ],
        **_staked(account, view.chain.clock_ms),
    }
    if not account.balance:
        del found["balance"]
    return found


def _staked(account: Account, now_ms: int) -> Json:
    """Return what java-tron's JSON of an account says about its stakes; zeros are left out."""
    net, energy = account.stakes
    found: Json = {
        "frozenV2": [
            _without_zeros({"amount": net.frozen}),
            {"type": "ENERGY", **_without_zeros({"amount": energy.frozen})},
            {"type": "TRON_POWER"},
        ],
        "unfrozenV2": [
            {
                **({"type": "ENERGY"} if one.resource == ENERGY else {}),
                "unfreeze_amount": one.sun,
                "unfreeze_expire_time": one.due_ms,
            }
            for one in account.unstaked
        ],
        "delegated_frozenV2_balance_for_bandwidth": net.delegated,
        "acquired_delegated_frozenV2_balance_for_bandwidth": net.acquired,
        "account_resource": _without_zeros(
            {
                "energy_usage": used_at(energy.used, energy.used_ms, now_ms),
                "delegated_frozenV2_balance_for_energy": energy.delegated,
                "acquired_delegated_frozenV2_balance_for_energy": energy.acquired,
            }
        ),
    }
    return _without_zeros(found)


def _without_zeros(found: Json) -> Json:
    return {key: value for key, value in found.items() if value}


def get_account_resource(view: View, body: Json) -> Answer:
    """An account's bandwidth and energy."""
    account = view.chain.world.get(addresses.from_text(body.get("address")))
    if account is None:
        return {}
    energy, now = account.stakes[ENERGY], view.chain.clock_ms
    of_energy = {"EnergyUsed": used_at(energy.used, energy.used_ms, now), "EnergyLimit": energy.limit(ENERGY)}
    return {
        **_net(view, account),
        **_without_zeros(of_energy),
        "TotalEnergyLimit": TOTAL_LIMITS[ENERGY],
        "TotalEnergyWeight": TOTAL_WEIGHTS[ENERGY],
    }


def get_account_net(view: View, body: Json) -> Answer:
    """An account's bandwidth."""
    account = view.chain.world.get(addresses.from_text(body.get("address")))
    return {} if account is None else _net(view, account)


def _net(view: View, account: Account) -> Json:
    net, now = account.stakes[BANDWIDTH], view.chain.clock_ms
    found = {
        "freeNetUsed": account.bandwidth_used(now),
        "freeNetLimit": FREE_BANDWIDTH,
        "NetUsed": used_at(net.used, net.used_ms, now),
        "NetLimit": net.limit(BANDWIDTH),
        "TotalNetLimit": TOTAL_LIMITS[BANDWIDTH],
        "TotalNetWeight": TOTAL_WEIGHTS[BANDWIDTH],
    }
    return _without_zeros(found)


def get_chain_parameters(view: View, _: Json) -> Answer:
    """What fees are computed from, in sun."""
    p = view.chain.executor.parameters
    values = {
        "getEnergyFee": p.energy_fee,
        "getTransactionFee": p.bandwidth_fee,
        "getCreateAccountFee": p.create_account_fee,
        "getCreateNewAccountFeeInSystemContract": p.new_account_fee,
        "getCreateNewAccountBandwidthRate": 1,
        "getMemoFee": p.memo_fee,
        "getMaxFeeLimit": p.max_fee_limit,
        "getFreeNetLimit": FREE_BANDWIDTH,
        "getTotalEnergyCurrentLimit": TOTAL_LIMITS[ENERGY],
        "getTotalNetLimit": TOTAL_LIMITS[BANDWIDTH],
        "getUnfreezeDelayDays": UNSTAKE_MS // WINDOW_MS,
        "getMaxDelegateLockPeriod": MOST_LOCK_BLOCKS,
        "getAllowDynamicEnergy": 0,
    }
    return {"chainParameter": [{"key": key, "value": value} for key, value in values.items()]}


def get_node_info(view: View, _: Json) -> Answer:
    """The head and the solid block."""
    head, solid = view.chain.head, view.chain.blocks[view.chain.solid_number]
    return {
        "block": f"Num:{head.number},ID:{head.id.hex()}",
        "solidityBlock": f"Num:{solid.number},ID:{solid.id.hex()}",
        "beginSyncNum": 0,
        "currentConnectCount": 0,
        "configNodeInfo": {"codeVersion": "4.8.0", "p2pVersion": "11111"},
    }


def _references(chain: Chain) -> Json:
    head = chain.head
    now = max(chain.now_ms(), head.timestamp)
    return {
        "ref_block_bytes": head.id[6:8].hex(),
        "ref_block_hash": head.id[8:16].hex(),
        "expiration": head.timestamp + DEFAULT_EXPIRATION_MS,
        "timestamp": now,
    }


def _build(view: View, kind: str, value: Json, **raw: Any) -> Tx:
    contract = {"type": kind, "parameter": {"value": value}}
    return Tx.from_json({"raw_data": {**_references(view.chain), "contract": [contract], **raw}})


def create_transaction(view: View, body: Json) -> Answer:
    """An unsigned TRX transfer."""
    value = {name: body.get(name) for name in ("owner_address", "to_address")}
    return _unsigned(view, body, "TransferContract", value | {"amount": body.get("amount", 0)})


def _unsigned(view: View, body: Json, kind: str, value: Json) -> Answer:
    tx = _build(view, kind, value)
    try:
        view.chain.executor.validate(tx)
    except ContractError as error:
        text = str(error).removeprefix("Contract validate error : ")
        return fault("org.tron.core.exception.ContractValidateException", text)
    return tx.to_json(visible=_visible(body))


def _staking(kind: str) -> Endpoint:
    """Return the endpoint that makes an unsigned contract of Stake 2.0; its fields are the body's."""

    def endpoint(view: View, body: Json) -> Answer:
        return _unsigned(view, body, kind, body)

    return endpoint


def get_delegated_resource(view: View, body: Json) -> Answer:
    """What one account has lent to another."""
    giver, taker = addresses.from_text(body.get("fromAddress")), addresses.from_text(body.get("toAddress"))
    account = view.chain.account(giver, solid=view.solid)
    found: list[Json] = []
    for loan in account.loans if account else ():
        if loan.receiver == taker:
            name = NAMES[loan.resource].lower()
            times = {f"expire_time_for_{name}": loan.locked_until_ms}
            found.append(
                {
                    "from": addresses.to_text(giver, visible=_visible(body)),
                    "to": addresses.to_text(taker, visible=_visible(body)),
                    f"frozen_balance_for_{name}": loan.sun,
                    **_without_zeros(times),
                }
            )
    return _without_zeros({"delegatedResource": found})


def get_delegated_resource_index(view: View, body: Json) -> Answer:
    """To whom an account lends, and who lends to it."""
    address, visible = addresses.from_text(body.get("value")), _visible(body)
    account = view.chain.account(address, solid=view.solid)
    if account is None:
        return {}
    to = dict.fromkeys(addresses.to_text(loan.receiver, visible=visible) for loan in account.loans)
    givers = [
        addresses.to_text(giver, visible=visible)
        for giver, other in view.chain.world.accounts.items()
        if any(loan.receiver == address for loan in other.loans)
    ]
    shown = addresses.to_text(address, visible=visible)
    return {"account": shown, **_without_zeros({"toAccounts": list(to), "fromAccounts": givers})}


def get_can_delegate(view: View, body: Json) -> Answer:
    """How much of a stake an account could lend now."""
    account = view.chain.account(addresses.from_text(body.get("owner_address")), solid=view.solid)
    resource = _number(body.get("type", 0))
    if account is None or resource not in NAMES:
        return {}
    return _without_zeros({"max_size": lendable(account, resource, view.chain.clock_ms)})


def get_can_withdraw(view: View, body: Json) -> Answer:
    """How much unstaked TRX an account could withdraw at a time."""
    account = view.chain.account(addresses.from_text(body.get("owner_address")), solid=view.solid)
    at_ms = _number(body.get("timestamp", view.chain.clock_ms))
    due = sum(one.sun for one in account.unstaked if one.due_ms <= at_ms) if account else 0
    return _without_zeros({"amount": due})


def get_unfreezes_left(view: View, body: Json) -> Answer:
    """How many more times an account could unstake now."""
    account = view.chain.account(addresses.from_text(body.get("owner_address")), solid=view.solid)
    now = view.chain.clock_ms
    waiting = sum(one.due_ms > now for one in account.unstaked) if account else 0
    return _without_zeros({"count": MOST_UNSTAKED - waiting})


def _call_data(body: Json) -> bytes:
    selector, data = body.get("function_selector"), body.get("data")
    try:
        if selector:
            return bytes(keccak(text=str(selector))[:4]) + bytes.fromhex(body.get("parameter") or "")
        return bytes.fromhex(data or "")
    except (ValueError, TypeError) as error:
        raise ProtocolError("the parameter must be hex") from error


def _trigger(view: View, body: Json) -> Tx:
    value = {
        "owner_address": body.get("owner_address"),
        "contract_address": body.get("contract_address"),
        "data": _call_data(body).hex(),
        "call_value": body.get("call_value", 0),
    }
    return _build(view, "TriggerSmartContract", value, fee_limit=body.get("fee_limit", 0))


def trigger_smart_contract(view: View, body: Json) -> Answer:
    """An unsigned call of a contract; nothing is executed."""
    tx = _trigger(view, body)
    refusal = _no_contract(view, tx, body)
    if refusal is not None:
        return refusal
    return {"result": {"result": True}, "transaction": tx.to_json(visible=_visible(body))}


def _no_contract(view: View, tx: Tx, body: Json) -> Json | None:
    if bytes(tx.contract.contract_address) in view.chain.evm.contracts:
        return None
    text = "Contract validate error : No contract or not a valid smart contract"
    message = text if _visible(body) else text.encode().hex()
    return {"result": {"code": "CONTRACT_VALIDATE_ERROR", "message": message}}


def _constant(view: View, tx: Tx) -> Execution:
    contract = tx.contract
    return view.chain.evm.call_constant(
        view.top.state_root, bytes(tx.owner), bytes(contract.contract_address), bytes(contract.data)
    )


def trigger_constant_contract(view: View, body: Json) -> Answer:
    """Run a call and forget what it changed."""
    tx = _trigger(view, body)
    refusal = _no_contract(view, tx, body)
    if refusal is not None:
        return refusal
    done = _constant(view, tx)
    ok = done.result == "SUCCESS"
    found: Json = {
        "result": {"result": True},
        "energy_used": done.energy,
        "constant_result": [done.output.hex()],
        "transaction": {**tx.to_json(visible=_visible(body)), "ret": [{} if ok else {"ret": "FAILED"}]},
    }
    if not ok:
        text = "REVERT opcode executed" if done.result == "REVERT" else "Not enough energy"
        found["result"]["message"] = text if _visible(body) else text.encode().hex()
    if done.logs:
        found["logs"] = logs_json(done)
    return found


def estimate_energy(view: View, body: Json) -> Answer:
    """The energy that a call needs."""
    tx = _trigger(view, body)
    refusal = _no_contract(view, tx, body)
    if refusal is not None:
        return refusal
    done = _constant(view, tx)
    if done.result != "SUCCESS":
        text = "REVERT opcode executed" if done.result == "REVERT" else "Not enough energy"
        message = text if _visible(body) else text.encode().hex()
        return {"result": {"code": "CONTRACT_EXE_ERROR", "message": message}}
    return {"result": {"result": True}, "energy_required": done.energy}


def get_contract(view: View, body: Json) -> Answer:
    """A contract's ABI; `{}` where there is none."""
    address = addresses.from_text(body.get("value"))
    artifact = view.chain.evm.contracts.get(address)
    if artifact is None:
        return {}
    entries = []
    for entry in artifact.abi:
        shown = {**entry, "type": entry["type"].capitalize()}
        if "stateMutability" in entry:
            shown["stateMutability"] = entry["stateMutability"].capitalize()
        entries.append({key: value for key, value in shown.items() if value not in (False, [])})
    return {
        "contract_address": addresses.to_text(address, visible=_visible(body)),
        "abi": {"entrys": entries},
        "bytecode": artifact.bytecode.hex(),
        "name": artifact.name,
        "origin_energy_limit": 10_000_000,
    }


def get_sign_weight(view: View, body: Json) -> Answer:
    """The permission that a transaction needs, and its id as the node computes it."""
    tx = Tx.from_json(body)
    visible = _visible(body)
    found: Json = {
        "transaction": {
            "result": {"result": True},
            "txid": tx.txid.hex(),
            "transaction": tx.to_json(visible=visible),
        }
    }
    if view.chain.world.get(bytes(tx.owner)) is None:
        return found | {"result": {"code": "PERMISSION_ERROR", "message": "Account does not exist!"}}
    owner = addresses.to_text(bytes(tx.owner), visible=visible)
    found["permission"] = {
        "permission_name": "owner",
        "threshold": 1,
        "keys": [{"address": owner, "weight": 1}],
    }
    signers = tx.signers()
    if signers and all(signer == tx.owner for signer in signers):
        return found | {"result": {}, "approved_list": [owner], "current_weight": 1}
    return found | {"result": {"code": "NOT_ENOUGH_PERMISSION"}}


def broadcast_transaction(view: View, body: Json) -> Answer:
    """Take a signed transaction into the pool."""
    tx = Tx.from_json(body)
    try:
        view.chain.broadcast(tx)
    except Refused as error:
        return {"code": error.code, "txid": tx.txid.hex(), "message": error.text.encode().hex()}
    return {"result": True, "txid": tx.txid.hex()}


def broadcast_hex(view: View, body: Json) -> Answer:
    """Take a signed transaction, serialised, into the pool."""
    try:
        tx = Tx.from_bytes(bytes.fromhex(str(body.get("transaction", ""))))
    except ValueError as error:
        return fault("com.google.protobuf.InvalidProtocolBufferException", str(error))
    shown: Json = {"txid": tx.txid.hex(), "transaction": str(tx.to_json(visible=False))}
    try:
        view.chain.broadcast(tx)
    except Refused as error:
        return {"result": False, "code": error.code, "message": error.text, **shown}
    return {"result": True, "code": "SUCCESS", "message": "", **shown}


def validate_address(_: View, body: Json) -> Answer:
    """Tell whether an address is one."""
    try:
        addresses.from_text(body.get("address"))
    except addresses.AddressError as error:
        return {"result": False, "message": str(error)}
    return {"result": True, "message": "Base58check format"}


def list_nodes(_: View, __: Json) -> Answer:
    """The node's peers: none."""
    return {}


_SOLIDITY: dict[str, Endpoint] = {
    "getnowblock": get_now_block,
    "getblockbynum": get_block_by_num,
    "getblockbyid": get_block_by_id,
    "getblock": get_block,
    "getblockbylimitnext": get_block_by_limit_next,
    "getblockbylatestnum": get_block_by_latest_num,
    "gettransactionbyid": get_transaction_by_id,
    "gettransactioninfobyid": get_transaction_info_by_id,
    "gettransactioninfobyblocknum": get_transaction_info_by_block_num,
    "getaccount": get_account,
    "triggerconstantcontract": trigger_constant_contract,
    "estimateenergy": estimate_energy,
    "getnodeinfo": get_node_info,
    "getdelegatedresourcev2": get_delegated_resource,
    "getdelegatedresourceaccountindexv2": get_delegated_resource_index,
    "getcandelegatedmaxsize": get_can_delegate,
    "getcanwithdrawunfreezeamount": get_can_withdraw,
    "getavailableunfreezecount": get_unfreezes_left,
}
ENDPOINTS: dict[str, dict[str, Endpoint]] = {
    "walletsolidity": _SOLIDITY,
    "wallet": {
        **_SOLIDITY,
        "getaccountresource": get_account_resource,
        "getaccountnet": get_account_net,
        "getchainparameters": get_chain_parameters,
        "createtransaction": create_transaction,
        "freezebalancev2": _staking("FreezeBalanceV2Contract"),
        "unfreezebalancev2": _staking("UnfreezeBalanceV2Contract"),
        "withdrawexpireunfreeze": _staking("WithdrawExpireUnfreezeContract"),
        "delegateresource": _staking("DelegateResourceContract"),
        "undelegateresource": _staking("UnDelegateResourceContract"),
        "triggersmartcontract": trigger_smart_contract,
        "getcontract": get_contract,
        "getsignweight": get_sign_weight,
        "broadcasttransaction": broadcast_transaction,
        "broadcasthex": broadcast_hex,
        "validateaddress": validate_address,
        "listnodes": list_nodes,
    },
}
