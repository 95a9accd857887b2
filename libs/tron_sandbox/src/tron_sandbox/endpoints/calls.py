"""Calls of contracts: to sign, to forget, and estimates.

What is wrong with these is told in `result`, never as an `Error` (TriggerSmartContractServlet and its neighbours).
"""

import functools
from dataclasses import replace

from eth_utils import keccak

from tron_sandbox import addresses
from tron_sandbox.endpoints.building import build
from tron_sandbox.errors import ContractError
from tron_sandbox.evm import Call, Execution
from tron_sandbox.jsonformat import Json, ProtocolError, from_hex
from tron_sandbox.protocol import Tx
from tron_sandbox.receipts import logs_json
from tron_sandbox.tvm import Balance
from tron_sandbox.view import Answer, Endpoint, View, message_of, visible_of
from tron_sandbox.world import Contract

_CONSTANT = ("View", "Pure")


def _told_in_result(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with its failures in `result`, as a code and a message."""

    @functools.wraps(endpoint)
    def told(view: View, body: Json) -> Answer:
        try:
            return endpoint(view, body)
        except ContractError as error:
            code, text = "CONTRACT_VALIDATE_ERROR", str(error)
        except addresses.AddressError as error:
            code, text = "OTHER_ERROR", f"class java.security.InvalidParameterException : {error}"
        except ProtocolError as error:
            code, text = "OTHER_ERROR", f"class org.tron.core.services.http.JsonFormat$ParseException : {error}"
        return {"result": {"code": code, "message": message_of(text, visible=visible_of(body))}}

    return told


def _trigger(view: View, body: Json) -> Tx:
    for name in ("owner_address", "contract_address"):
        if not body.get(name) and not (name == "contract_address" and body.get("data")):
            raise addresses.AddressError(f"{name} isn't set.")
    selector = body.get("function_selector")
    if selector:
        data = keccak(text=str(selector))[:4].hex() + from_hex(body.get("parameter") or "", "parameter").hex()
    else:
        data = from_hex(body.get("data") or "", "data").hex()
    value = {**body, "contract_address": body.get("contract_address") or None, "data": data}
    return build(view, "TriggerSmartContract", value, fee_limit=body.get("fee_limit", 0))


def _called(view: View, tx: Tx) -> Contract | None:
    account = view.chain.account(tx.contract.contract_address, solid=view.solid)
    return account.contract if account else None


def _is_constant(contract: Contract, data: bytes) -> bool:
    """Tell whether the ABI says that a function changes nothing."""
    for entry in contract.abi.get("entrys", []):
        if entry.get("type") == "Function" and (
            entry.get("constant") or entry.get("stateMutability") in _CONSTANT
        ):
            types = ",".join(one.get("type", "") for one in entry.get("inputs", []))
            if data.startswith(keccak(text=f"{entry.get('name', '')}({types})")[:4]):
                return True
    return False


@_told_in_result
def trigger_smart_contract(view: View, body: Json) -> Answer:
    """An unsigned call of a contract; it is executed only where the ABI says that it changes nothing."""
    tx = _trigger(view, body)
    contract = _called(view, tx)
    if contract is None:
        raise ContractError("No contract or not a valid smart contract")
    if _is_constant(contract, bytes(tx.contract.data)):
        return _constant_json(view, tx, body)
    return {"result": {"result": True}, "transaction": tx.to_json(visible=visible_of(body))}


@_told_in_result
def trigger_constant_contract(view: View, body: Json) -> Answer:
    """Run a call, or the making of a contract where none is called, and forget what it changed."""
    return _constant_json(view, _trigger(view, body), body)


@_told_in_result
def estimate_energy(view: View, body: Json) -> Answer:
    """The energy that a call needs."""
    done = _run(view, _trigger(view, body))
    if done.result != "SUCCESS":
        message = message_of(done.reason, visible=visible_of(body))
        return {"result": {"code": "CONTRACT_EXE_ERROR", "message": message}}
    return {"result": {"result": True}, "energy_required": done.energy}


def _constant_json(view: View, tx: Tx, body: Json) -> Json:
    done = _run(view, tx)
    ok = done.result == "SUCCESS"
    found: Json = {
        "result": {"result": True},
        "energy_used": done.energy,
        "constant_result": [done.output.hex()],
        "transaction": {**tx.to_json(visible=visible_of(body)), "ret": [{} if ok else {"ret": "FAILED"}]},
    }
    if done.penalty:
        found["energy_penalty"] = done.penalty
    if not ok:
        found["result"]["message"] = message_of(done.reason, visible=visible_of(body))
    if done.logs:
        found["logs"] = logs_json(done)
    return found


def _run(view: View, tx: Tx) -> Execution:
    call = Call(tx.owner, tx.contract.contract_address, bytes(tx.contract.data), tx.txid, tx.contract.call_value)
    if not call.contract:
        call = replace(call, contract=tx.new_address(), creates=True)
    elif _called(view, tx) is None:
        raise ContractError("Smart contract is not exist.")
    balance_of = _balances(view)
    if call.sun < 0:
        raise ContractError("callValue must be >= 0")
    if call.sun > (balance_of(call.sender[1:]) or 0):
        raise ContractError("Validate InternalTransfer error, balance is not sufficient.")
    top = view.top
    block = view.chain.surroundings(top.number, top.timestamp, top.producer)
    return view.chain.evm.call_constant(top.state_root, block, call, balance_of)


def _balances(view: View) -> Balance:
    def balance_of(address: bytes) -> int | None:
        account = view.chain.account(addresses.PREFIX + address, solid=view.solid)
        return None if account is None else account.balance

    return balance_of
