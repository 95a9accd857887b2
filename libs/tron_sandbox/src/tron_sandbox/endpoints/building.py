"""Unsigned transactions: the node fills in the reference block, the times and the id."""

from typing import Any

from tron_sandbox.chain import Chain
from tron_sandbox.errors import ContractError
from tron_sandbox.executor import Executor
from tron_sandbox.jsonformat import Json
from tron_sandbox.protocol import Tx
from tron_sandbox.view import Answer, View, fault, visible_of

DEFAULT_EXPIRATION_MS = 60_000


def _references(chain: Chain) -> Json:
    head, solid = chain.head, chain.blocks[chain.solid_number]
    now = max(chain.now_ms(), head.timestamp)
    return {
        "ref_block_bytes": solid.id[6:8].hex(),
        "ref_block_hash": solid.id[8:16].hex(),
        "expiration": head.timestamp + DEFAULT_EXPIRATION_MS,
        "timestamp": now,
    }


def build(view: View, kind: str, value: Json, **raw: Any) -> Tx:
    """Return an unsigned transaction of one contract, that refers to the newest solid block."""
    contract = {"type": kind, "parameter": {"value": value}}
    return Tx.from_json({"raw_data": {**_references(view.chain), "contract": [contract], **raw}})


def unsigned(view: View, body: Json, kind: str, value: Json) -> Answer:
    """Return the JSON of an unsigned transaction, or why it could not be carried out."""
    tx = build(view, kind, value)
    try:
        Executor(view.chain.world, view.chain.evm).validate(tx, view.chain.clock_ms)
    except ContractError as error:
        return fault("org.tron.core.exception.ContractValidateException", str(error))
    return tx.to_json(visible=visible_of(body))


def create_transaction(view: View, body: Json) -> Answer:
    """An unsigned TRX transfer."""
    value = {name: body.get(name) for name in ("owner_address", "to_address")}
    return unsigned(view, body, "TransferContract", value | {"amount": body.get("amount", 0)})


def create_account(view: View, body: Json) -> Answer:
    """An unsigned transaction that activates an address."""
    value = {name: body.get(name) for name in ("owner_address", "account_address")}
    return unsigned(view, body, "AccountCreateContract", value)
