"""Transactions: what became of them, what their signature needs, and the door they come in by."""

import orjson

from tron_sandbox import addresses
from tron_sandbox.errors import Refused
from tron_sandbox.jsonformat import Json, ProtocolError
from tron_sandbox.protocol import Tx
from tron_sandbox.view import Answer, View, fault, txid_of, visible_of, whole


def get_transaction_by_id(view: View, body: Json) -> Answer:
    """A transaction in a block."""
    place = view.chain.find(txid_of(body), solid=view.solid)
    if place is None:
        return {}
    block, index = place
    found = block.txs[index].to_json(visible=visible_of(body), result=block.results[index])
    return {key: value for key, value in found.items() if key != "visible"}


def get_transaction_info_by_id(view: View, body: Json) -> Answer:
    """What a transaction did and cost."""
    txid = txid_of(body)
    if view.chain.find(txid, solid=view.solid) is None:
        return {}
    return _show_info(view.chain.info(txid), visible=visible_of(body))


def get_transaction_info_by_block_num(view: View, body: Json) -> Answer:
    """The infos of a block's transactions; `[]` for an empty block and for one that is not there yet."""
    number = whole(body.get("num", 0))
    if number <= 0:
        return {}
    block = view.block(number)
    txids = [tx.txid for tx in block.txs] if block else []
    if not visible_of(body):
        return [orjson.Fragment(view.chain.infos[txid]) for txid in txids]
    return [_show_info(view.chain.info(txid), visible=True) for txid in txids]


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
    if "internal_transactions" in info:
        shown["internal_transactions"] = [_show_internal(one) for one in info["internal_transactions"]]
    return shown


def _show_internal(one: Json) -> Json:
    names = ("caller_address", "transferTo_address")
    return one | {name: addresses.to_base58(bytes.fromhex(one[name])) for name in names}


def get_sign_weight(view: View, body: Json) -> Answer:
    """The permission that a transaction needs, and its id as the node computes it."""
    tx = Tx.from_json(body)
    visible = visible_of(body)
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


def get_approved_list(view: View, body: Json) -> Answer:
    """Who signed a transaction."""
    tx, visible = Tx.from_json(body), visible_of(body)
    found: Json = {
        "result": {},
        "transaction": {
            "result": {"result": True},
            "txid": tx.txid.hex(),
            "transaction": tx.to_json(visible=visible),
        },
    }
    try:
        signers = tx.signers()
    except ProtocolError as error:
        return found | {"result": {"code": "SIGNATURE_FORMAT_ERROR", "message": str(error)}}
    return found | {"approved_list": [addresses.to_text(signer, visible=visible) for signer in signers]}


def get_transaction_count(view: View, body: Json) -> Answer:
    """How many transactions a block has; -1 where there is no block."""
    block = view.block(whole(body.get("num", 0)))
    return {"count": len(block.txs) if block else -1}


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
