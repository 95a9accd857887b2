"""Contracts themselves: their ABI and code, and new ones to sign."""

import orjson

from tron_sandbox import addresses
from tron_sandbox.endpoints.building import build
from tron_sandbox.jsonformat import Json
from tron_sandbox.view import Answer, View, visible_of

_NEW_CONTRACT = ("call_value", "consume_user_resource_percent", "origin_energy_limit", "name")


def get_contract(view: View, body: Json) -> Answer:
    """A contract's ABI and code; `{}` where there is none."""
    address = addresses.from_text(body.get("value"))
    account = view.chain.world.get(address)
    contract = account.contract if account else None
    if contract is None:
        return {}
    found = {
        "origin_address": addresses.to_text(contract.origin, visible=visible_of(body)),
        "contract_address": addresses.to_text(address, visible=visible_of(body)),
        "abi": contract.abi,
        "bytecode": contract.bytecode.hex(),
        "name": contract.name,
        "consume_user_resource_percent": contract.user_percent,
        "origin_energy_limit": contract.energy_limit,
    }
    return {key: value for key, value in found.items() if value or key == "abi"}


def get_contract_info(view: View, body: Json) -> Answer:
    """A contract and the code that runs; `{}` where there is none."""
    address = addresses.from_text(body.get("value"))
    found = get_contract(view, body)
    if not found:
        return {}
    code = view.chain.evm.code_at(view.top.state_root, address)
    return {"smart_contract": found, "runtimecode": code.hex()}


def deploy_contract(view: View, body: Json) -> Answer:
    """An unsigned transaction that makes a contract; nothing is executed, and nothing checked but its form."""
    owner = body.get("owner_address")
    abi = body.get("abi", [])
    if isinstance(abi, str):
        abi = orjson.loads(abi)
    code = f"{body.get('bytecode') or ''}{body.get('parameter') or ''}"
    new = {name: body[name] for name in _NEW_CONTRACT if name in body}
    value = {
        "owner_address": owner,
        "new_contract": {**new, "origin_address": owner, "abi": {"entrys": abi}, "bytecode": code},
        "call_token_value": body.get("call_token_value", 0),
        "token_id": body.get("token_id", 0),
    }
    tx = build(view, "CreateSmartContract", value, fee_limit=body.get("fee_limit", 0))
    return tx.to_json(visible=visible_of(body))
