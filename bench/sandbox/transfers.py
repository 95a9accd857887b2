"""Signed USDT transfers between the node's genesis accounts, made before the clock runs."""

import itertools

from eth_abi import encode
from eth_utils import keccak

from tron_sandbox import accounts
from tron_sandbox.addresses import of_public_key
from tron_sandbox.chain import FAUCET, FAUCET_KEY
from tron_sandbox.evm import USDT
from tron_sandbox.protocol import Tx

SELECTOR = keccak(text="transfer(address,uint256)")[:4]
LIVES_MS = 3_600_000
_stamps = itertools.count()


def usdt_transfer(reference: bytes, time_ms: int, sender: int | None, to: bytes, units: int) -> str:
    """Return a signed transfer in hex.

    Args:
        reference: the id of a block on the chain.
        time_ms: the block's time.
        sender: a genesis account's number; None for the faucet.
        to: the recipient's address.
        units: the amount in millionths.
    """
    key = FAUCET_KEY if sender is None else accounts.key(sender)
    owner = FAUCET if sender is None else of_public_key(key.public_key.format(compressed=False))
    data = SELECTOR + encode(["address", "uint256"], [to[1:], units])
    value = {"owner_address": owner.hex(), "contract_address": USDT.hex(), "data": data.hex()}
    raw = {
        "contract": [{"type": "TriggerSmartContract", "parameter": {"value": value}}],
        "ref_block_bytes": reference[6:8].hex(),
        "ref_block_hash": reference[8:16].hex(),
        "expiration": time_ms + LIVES_MS,
        "timestamp": time_ms + next(_stamps),
        "fee_limit": 50_000_000,
    }
    unsigned = Tx.from_json({"raw_data": raw})
    signature = key.sign_recoverable(unsigned.txid, hasher=None)
    return Tx.from_json({"raw_data": raw, "signature": [signature.hex()]}).to_bytes().hex()
