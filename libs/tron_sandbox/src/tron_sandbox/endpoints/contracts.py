"""Contracts: calls to sign, calls to forget, estimates, and ABIs."""

from eth_utils import keccak

from tron_sandbox import addresses
from tron_sandbox.endpoints.building import build
from tron_sandbox.evm import Call, Execution
from tron_sandbox.protocol import Json, ProtocolError, Tx
from tron_sandbox.receipts import logs_json
from tron_sandbox.tvm import Balance
from tron_sandbox.view import Answer, View, message_of, visible_of


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
    return build(view, "TriggerSmartContract", value, fee_limit=body.get("fee_limit", 0))


def trigger_smart_contract(view: View, body: Json) -> Answer:
    """An unsigned call of a contract; nothing is executed."""
    tx = _trigger(view, body)
    refusal = _refusal(view, tx, body)
    if refusal is not None:
        return refusal
    return {"result": {"result": True}, "transaction": tx.to_json(visible=visible_of(body))}


def _refusal(view: View, tx: Tx, body: Json) -> Json | None:
    if bytes(tx.contract.contract_address) not in view.chain.evm.contracts:
        return _invalid("No contract or not a valid smart contract", body)
    if not 0 <= tx.contract.call_value <= (_balances(view)(tx.owner[1:]) or 0):
        return _invalid("Validate InternalTransfer error, balance is not sufficient.", body)
    return None


def _invalid(reason: str, body: Json) -> Json:
    message = message_of(f"Contract validate error : {reason}", visible=visible_of(body))
    return {"result": {"code": "CONTRACT_VALIDATE_ERROR", "message": message}}


def _balances(view: View) -> Balance:
    def balance_of(address: bytes) -> int | None:
        account = view.chain.account(addresses.PREFIX + address, solid=view.solid)
        return None if account is None else account.balance

    return balance_of


def _constant(view: View, tx: Tx) -> Execution:
    contract = tx.contract
    call = Call(tx.owner, contract.contract_address, bytes(contract.data), contract.call_value)
    return view.chain.evm.call_constant(view.top.state_root, call, _balances(view))


def trigger_constant_contract(view: View, body: Json) -> Answer:
    """Run a call and forget what it changed."""
    tx = _trigger(view, body)
    refusal = _refusal(view, tx, body)
    if refusal is not None:
        return refusal
    done = _constant(view, tx)
    ok = done.result == "SUCCESS"
    found: Json = {
        "result": {"result": True},
        "energy_used": done.energy,
        "constant_result": [done.output.hex()],
        "transaction": {**tx.to_json(visible=visible_of(body)), "ret": [{} if ok else {"ret": "FAILED"}]},
    }
    if not ok:
        text = "REVERT opcode executed" if done.result == "REVERT" else "Not enough energy"
        found["result"]["message"] = message_of(text, visible=visible_of(body))
    if done.logs:
        found["logs"] = logs_json(done)
    return found


def estimate_energy(view: View, body: Json) -> Answer:
    """The energy that a call needs."""
    tx = _trigger(view, body)
    refusal = _refusal(view, tx, body)
    if refusal is not None:
        return refusal
    done = _constant(view, tx)
    if done.result != "SUCCESS":
        text = "REVERT opcode executed" if done.result == "REVERT" else "Not enough energy"
        message = message_of(text, visible=visible_of(body))
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
        "contract_address": addresses.to_text(address, visible=visible_of(body)),
        "abi": {"entrys": entries},
        "bytecode": artifact.bytecode.hex(),
        "name": artifact.name,
        "origin_energy_limit": 10_000_000,
    }
