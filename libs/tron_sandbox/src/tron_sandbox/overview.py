"""What the page at `/` shows of a node: little enough to be computed every other second with 100,000 accounts.

Amounts of tokens are text: they may be larger than JSON's numbers can hold.
"""

import itertools
from importlib import resources

from eth_utils import keccak

from tron_sandbox import addresses
from tron_sandbox.chain import FAUCET, PRODUCER_NAMES, Block, Chain
from tron_sandbox.evm import USDT, Call
from tron_sandbox.jsonformat import Json
from tron_sandbox.node import Node
from tron_sandbox.protocol import Tx
from tron_sandbox.world import BANDWIDTH, ENERGY, Account

BLOCKS, TRANSACTIONS, ACCOUNTS = 12, 15, 25
SEARCHED_BLOCKS = 200
_BALANCE_OF = keccak(text="balanceOf(address)")[:4]
_TRANSFER = keccak(text="transfer(address,uint256)")[:4]
_AMOUNTS = ("amount", "frozen_balance", "unfreeze_balance", "balance", "call_value")


def page() -> str:
    """Return the page."""
    return resources.files("tron_sandbox").joinpath("page.html").read_text(encoding="utf-8")


def overview(node: Node) -> Json:
    """Return what the page shows."""
    chain = node.chain
    newest = list(itertools.islice(reversed(chain.blocks), SEARCHED_BLOCKS))
    touched = chain.world.touched(ACCOUNTS)
    return {
        "head": chain.head.number,
        "solid": chain.solid_number,
        "solid_stopped": chain.solid_stopped_at is not None,
        "pool": len(chain.pool),
        "interval": node.interval_s,
        "faults": [{"endpoint": f.endpoint, "kind": f.kind, "count": f.count} for f in node.faults],
        "blocks": [_block(block) for block in newest[:BLOCKS]],
        "transactions": list(itertools.islice(_transactions(chain, newest), TRANSACTIONS)),
        "accounts_total": len(chain.world.accounts),
        "accounts": [_account(chain, address, account) for address, account in touched],
    }


def _block(block: Block) -> Json:
    return {
        "number": block.number,
        "timestamp": block.timestamp,
        "producer": PRODUCER_NAMES[block.producer],
        "transactions": len(block.txs),
    }


def _transactions(chain: Chain, blocks: list[Block]) -> "itertools.chain[Json]":
    return itertools.chain.from_iterable(
        (
            _transaction(chain, tx, result)
            for tx, result in zip(reversed(block.txs), reversed(block.results), strict=True)
        )
        for block in blocks
    )


def _transaction(chain: Chain, tx: Tx, result: str) -> Json:
    found: Json = {
        "id": tx.txid.hex(),
        "kind": tx.kind.removesuffix("Contract"),
        "from": addresses.to_base58(tx.owner),
        "to": "",
        "amount": None,
        "unit": "TRX",
        "fee": chain.info(tx.txid).get("fee", 0),
        "result": result,
    }
    for field, value in tx.contract.ListFields():
        if field.name.endswith("_address") and field.name != "owner_address":
            found["to"] = addresses.to_base58(value)
        elif field.name in _AMOUNTS:
            found["amount"] = str(value)
    if tx.kind == "TriggerSmartContract":
        data = bytes(tx.contract.data)
        if tx.contract.contract_address == USDT and data.startswith(_TRANSFER) and len(data) == 68:
            to = addresses.to_base58(addresses.PREFIX + data[16:36])
            amount = int.from_bytes(data[36:], "big")
            found |= {"kind": "USDT transfer", "to": to, "amount": str(amount), "unit": "USDT"}
    elif tx.kind == "CreateSmartContract":
        found["to"] = addresses.to_base58(tx.new_address())
    return found


def _account(chain: Chain, address: bytes, account: Account) -> Json:
    now, free = chain.clock_ms, chain.world.parameters.free_bandwidth
    net, energy = account.stakes
    contract = account.contract
    return {
        "address": addresses.to_base58(address),
        "balance": account.balance,
        "usdt": str(_usdt(chain, address)),
        "bandwidth": max(0, free - account.bandwidth_used(now)) + net.left(BANDWIDTH, now),
        "bandwidth_limit": free + net.limit(BANDWIDTH),
        "energy": energy.left(ENERGY, now),
        "energy_limit": energy.limit(ENERGY),
        "staked": sum(stake.frozen + stake.delegated for stake in account.stakes),
        "note": "the faucet" if address == FAUCET else f"contract {contract.name}" if contract else "",
    }


def _usdt(chain: Chain, address: bytes) -> int:
    head = chain.head
    call = Call(FAUCET, USDT, _BALANCE_OF + address[1:].rjust(32, b"\0"), bytes(32))
    block = chain.surroundings(head.number, head.timestamp, head.producer)
    done = chain.evm.call_constant(head.state_root, block, call, lambda _: None)
    return int.from_bytes(done.output, "big")
