"""Reads blocks one transaction at a time, so that one that can't be read holds up no other.

What enters: a node's JSON. What leaves: transfers, results, and what could not be read. Blocks at the head are
read from what their transactions ask for, which costs one call and is for display alone; money is read with the
receipts of solid blocks.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any

from tronpy.keys import to_base58check_address, to_hex_address

from payments.adapters.tron_parse import Json, hides_calls, logged, native
from payments.domain.errors import NodeLied
from payments.domain.intents import NATIVE
from payments.domain.model import MOST_RAW, BlockContent, Result, Transfer, Unreadable

MOST_UNITS = 10**30
"""An amount from here on is absurd, and more than the ledger takes."""
BROKEN = (KeyError, TypeError, ValueError, IndexError, AttributeError)
TRANSFER = "a9059cbb"
"""The selector of transfer(address,uint256)."""
TRANSFER_FROM = "23b872dd"
"""The selector of transferFrom(address,address,uint256)."""
WORD = 64


def read_content(
    height: int, infos: Any, transactions: Sequence[Json] | None, assets: Collection[str]
) -> BlockContent:
    """Read a block that is not empty.

    Args:
        height: the block's height.
        infos: what `gettransactioninfobyblocknum` answered.
        transactions: the block's transactions, or None where TRX is not watched.
        assets: the contracts whose transfers count, and `NATIVE` where TRX does.

    Raises:
        NodeLied: when something is missing, as load balancers answer, or belongs to another block.
    """
    if not isinstance(infos, list) or not infos:
        raise NodeLied(f"block {height} is not empty, but its transactions are missing")
    if transactions is not None and [_id(t, "txID") for t in transactions] != [_id(i, "id") for i in infos]:
        raise NodeLied(f"block {height}: its transactions and their receipts differ")
    by_hex = {to_hex_address(asset): asset for asset in assets if asset != NATIVE}
    content = BlockContent([], [])
    for place, info in enumerate(infos):
        number = info.get("blockNumber", height) if isinstance(info, dict) else height
        if number != height:
            raise NodeLied(f"asked for the receipts of block {height}, got those of {number}")
        try:
            # How it ended is known even where its logs can't be read: ours must never pass for lost.
            content.results.append(_result(info))
            transfers = logged(info, by_hex)
            if transactions is not None:
                transfers += native(transactions[place], info)
            _check_amounts(transfers)
            content.transfers.extend(transfers)
            if transactions is not None and hides_calls(info):
                content.hidden.append(info["id"])
        except BROKEN as error:
            content.unreadable.append(_set_aside(info, place, error))
    return content


def asked_transfers(block: Json, assets: Collection[str]) -> list[Transfer]:
    """Return the transfers that a block's transactions ask for; what can't be read is left out.

    Transfers inside other contracts leave no trace here: they are seen once they are solid.

    Args:
        block: what `getblockbynum` answered.
        assets: the contracts whose transfers count, and `NATIVE` where TRX does.
    """
    by_hex = {to_hex_address(asset): asset for asset in assets if asset != NATIVE}
    found = []
    for transaction in block.get("transactions", []):
        try:
            if transaction["ret"][0].get("contractRet", "SUCCESS") != "SUCCESS":
                continue
            transfers = _asked(transaction, by_hex)
            if NATIVE in assets:
                transfers += native(transaction, {"id": transaction["txID"]})
            _check_amounts(transfers)
            found += transfers
        except BROKEN:
            continue
    return found


def slim(transaction: Json) -> Json:
    """Return what the reading of TRX needs of a transaction: a fraction of what a node tells."""
    contracts = []
    for contract in transaction["raw_data"]["contract"]:
        value = {k: v for k, v in contract["parameter"]["value"].items() if k != "data"}
        contracts.append({"type": contract["type"], "parameter": {"value": value}})
    return {"txID": transaction["txID"], "raw_data": {"contract": contracts}}


def _check_amounts(transfers: list[Transfer]) -> None:
    for transfer in transfers:
        if not 0 < transfer.amount < MOST_UNITS:
            raise ValueError(f"an amount of {transfer.amount} units can't be")


def _id(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else None


def _set_aside(info: Any, place: int, error: Exception) -> Unreadable:
    txid = _id(info, "id")
    named = txid if isinstance(txid, str) and txid else f"#{place}"
    return Unreadable(named, f"{type(error).__name__}: {error}"[:500], json.dumps(info)[:MOST_RAW])


def _asked(transaction: Json, by_hex: dict[str, str]) -> list[Transfer]:
    """Return the token transfer that a transaction makes by itself."""
    (contract,) = transaction["raw_data"]["contract"]
    value = contract["parameter"]["value"]
    asset = by_hex.get(value.get("contract_address", ""))
    if asset is None or contract["type"] != "TriggerSmartContract":
        return []
    selector, words = value["data"][:8], value["data"][8:]
    parts = [words[at : at + WORD] for at in range(0, len(words), WORD)]
    if selector == TRANSFER:
        return _moved(transaction, asset, (value["owner_address"][-40:], parts[0]), parts[1])
    if selector == TRANSFER_FROM:
        return _moved(transaction, asset, (parts[0], parts[1]), parts[2])
    return []


def _moved(transaction: Json, asset: str, ends: tuple[str, str], amount: str) -> list[Transfer]:
    units = int(amount, 16)
    sender, recipient = (str(to_base58check_address(f"41{end[-40:]}")) for end in ends)
    return [Transfer(transaction["txID"], 0, asset, sender, recipient, units)] if units else []


def _result(info: Json) -> Result:
    if not isinstance(info["id"], str):
        raise TypeError("its id is no text")
    return Result(info["id"], info.get("result") != "FAILED", int(info.get("fee", 0)))
