"""What a call of a contract did, as java-tron writes it in a transaction's info."""

import hashlib

from tron_sandbox import addresses
from tron_sandbox.evm import Execution
from tron_sandbox.internals import Internal
from tron_sandbox.jsonformat import Json


def logs_json(done: Execution) -> list[Json]:
    """Write logs: 20-byte addresses in hex."""
    return [
        {
            "address": log.address.hex(),
            "topics": [topic.hex() for topic in log.topics],
            "data": log.data.hex(),
        }
        for log in done.logs
    ]


def internals_json(txid: bytes, done: Execution) -> list[Json]:
    """Write the calls inside a call; an amount of zero is left out, its place stays."""
    return [_internal(txid, nonce, one) for nonce, one in enumerate(done.internals, 1)]


def _internal(txid: bytes, nonce: int, one: Internal) -> Json:
    found: Json = {
        "hash": hashlib.sha256(txid + nonce.to_bytes(8, "big")).hexdigest(),
        "caller_address": (addresses.PREFIX + one.caller).hex(),
        "transferTo_address": (addresses.PREFIX + one.to).hex(),
        "callValueInfo": [{"callValue": one.sun} if one.sun else {}],
        "note": one.note.encode().hex(),
    }
    return found | ({"rejected": True} if one.rejected else {})
