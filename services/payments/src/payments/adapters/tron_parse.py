"""Reads what a Tron node answers about blocks (design: tron-api). A shape that can't be is `NodeLied`."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from tronpy.keys import to_base58check_address, to_hex_address

from payments.domain.errors import NodeLied
from payments.domain.intents import NATIVE, STAKED
from payments.domain.model import Header, Placed, Transfer

TRANSFER_TOPIC = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak256("Transfer(address,address,uint256)")"""
ZERO_ROOT = "0" * 64
OWN_CALL = -1
"""The place of what a transaction itself sends; what contracts send inside it comes below."""
MOVING_NOTES = frozenset(word.encode().hex() for word in ("call", "create", "suicide"))
"""What moves TRX inside a contract. Stakes and loans of stakes are listed beside these and move none."""

Json = dict[str, Any]


def read_header(answer: Any) -> Header:
    """Read a block's header."""
    try:
        raw = answer["block_header"]["raw_data"]
        return Header(
            height=raw.get("number", 0),
            hash=answer["blockID"],
            parent=raw["parentHash"],
            time=datetime.fromtimestamp(raw.get("timestamp", 0) / 1000, UTC),
            empty=raw.get("txTrieRoot", ZERO_ROOT) == ZERO_ROOT,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise NodeLied("the node answered no block") from error


def read_header_of(answer: Any, height: int) -> Header:
    """Read the header of the block that was asked for."""
    header = read_header(answer)
    if header.height != height:
        raise NodeLied(f"asked for block {height}, got {header.height}")
    return header


def read_placed(info: Json, transaction: Json, assets: Collection[str], log_index: int) -> Placed | None:
    """Read the transfer at a place of a solid transaction; None where there is none.

    Raises:
        NodeLied: when the answer can't be read.
    """
    try:
        by_hex = {to_hex_address(asset): asset for asset in assets if asset != NATIVE}
        transfers = [*logged(info, by_hex), *native(transaction, info)]
        found = [t for t in transfers if t.log_index == log_index]
        time = datetime.fromtimestamp(info["blockTimeStamp"] / 1000, UTC)
        return Placed(info["blockNumber"], time, found[0]) if found else None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NodeLied(f"transaction {info.get('id')} can't be read: {error!r}") from error


def logged(info: Json, assets: dict[str, str]) -> list[Transfer]:
    """Return the token transfers of a transaction; a transfer of nothing is a stranger's poison."""
    found = []
    for index, entry in enumerate(info.get("log", [])):
        asset, topics = assets.get("41" + entry["address"]), entry.get("topics", [])
        if asset is None or len(topics) != 3 or topics[0] != TRANSFER_TOPIC:
            continue
        amount = int(entry.get("data") or "0", 16)
        if amount > 0:
            sender, recipient = (to_base58check_address("41" + t[-40:]) for t in topics[1:])
            found.append(Transfer(info["id"], index, asset, sender, recipient, amount))
    return found


def hides_calls(info: Json) -> bool:
    """Tell whether a receipt shows that contracts called each other, and not what they sent.

    A log of another contract than the one that was called can't be without such a call. A node that does not keep
    them (`vm.saveInternalTx = false`) hides the TRX that contracts send.
    """
    called = info.get("contract_address")
    logs = {"41" + entry["address"] for entry in info.get("log", [])}
    return called is not None and bool(logs - {called}) and "internal_transactions" not in info


def native(transaction: Json, info: Json) -> list[Transfer]:
    """Return the TRX that a transaction moved, itself and inside contracts."""
    if info.get("result") == "FAILED":
        return []
    (contract,) = transaction["raw_data"]["contract"]
    value = contract["parameter"]["value"]
    moves: list[tuple[int, str, str, int]] = []
    match contract["type"]:
        case "TransferContract":
            moves.append((OWN_CALL, value["owner_address"], value["to_address"], value["amount"]))
        case "TriggerSmartContract" if value.get("call_value"):
            moves.append((OWN_CALL, value["owner_address"], value["contract_address"], value["call_value"]))
        case "FreezeBalanceV2Contract":
            moves.append((OWN_CALL, value["owner_address"], STAKED, value["frozen_balance"]))
        case "WithdrawExpireUnfreezeContract":
            moves.append((OWN_CALL, STAKED, value["owner_address"], info.get("withdraw_expire_amount", 0)))
    for place, inner in enumerate(info.get("internal_transactions", [])):
        if not inner.get("rejected") and inner.get("note") in MOVING_NOTES:
            for paid in inner.get("callValueInfo", []):
                if paid.get("callValue") and not paid.get("tokenId"):
                    to = inner["transferTo_address"]
                    moves.append((OWN_CALL - 1 - place, inner["caller_address"], to, paid["callValue"]))
    return [Transfer(info["id"], i, NATIVE, _base58(a), _base58(b), n) for i, a, b, n in moves if n > 0]


def _base58(address: str) -> str:
    return address if address == STAKED else str(to_base58check_address(address))
