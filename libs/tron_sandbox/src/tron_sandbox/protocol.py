"""Transactions and block headers as protobuf, and as java-tron's JSON."""

import hashlib
from typing import Any

from coincurve import PublicKey
from eth_utils import keccak
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from tronpy.proto import tron_pb2 as pb

from tron_sandbox import addresses
from tron_sandbox.jsonformat import Json, ProtocolError, from_hex, read, whole, write
from tron_sandbox.messages import NUMBERS, TYPES

ZERO_HASH = bytes(32)
MAX_RESULT_SIZE = 64
"""Bytes that java-tron adds to each transaction for its result when it counts bandwidth."""


_NAMES = {number: name for name, number in NUMBERS.items()}


def _name(number: int) -> str:
    known = pb.Transaction.Contract.ContractType.DESCRIPTOR.values_by_number.get(number)
    return known.name if known else str(number)


class Tx:
    """A transaction: the protobuf, its id, and the message of its one contract."""

    __slots__ = ("contract", "kind", "message", "raw", "txid")

    def __init__(self, message: Any) -> None:
        if len(message.raw_data.contract) != 1:
            raise ProtocolError("a transaction has one contract")
        self.message = message
        self.raw: bytes = message.raw_data.SerializeToString()
        self.txid = hashlib.sha256(self.raw).digest()
        outer = message.raw_data.contract[0]
        kind = _NAMES.get(outer.type)
        if kind is None:
            raise ProtocolError(f"the sandbox carries out no contracts of type {_name(outer.type)}")
        self.kind: str = kind
        self.contract: Any = TYPES[kind]()
        try:
            self.contract.ParseFromString(outer.parameter.value)
        except DecodeError as error:
            raise ProtocolError("the contract's parameter can't be read") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> "Tx":
        """Read a serialised transaction."""
        message = pb.Transaction()
        try:
            message.ParseFromString(data)
        except DecodeError as error:
            raise ProtocolError("the transaction can't be read") from error
        return cls(message)

    @classmethod
    def from_json(cls, body: Json) -> "Tx":
        """Read java-tron's JSON; `raw_data_hex` is ignored, as java-tron does."""
        raw, signatures = body.get("raw_data"), body.get("signature") or []
        if not isinstance(raw, dict) or not isinstance(signatures, list):
            raise ProtocolError("raw_data is missing")
        contracts = raw.get("contract")
        if not isinstance(contracts, list) or len(contracts) != 1 or not isinstance(contracts[0], dict):
            raise ProtocolError("a transaction has one contract")
        outer = contracts[0]
        kind, parameter = outer.get("type"), outer.get("parameter")
        if not isinstance(kind, str) or kind not in NUMBERS:
            raise ProtocolError(f"the sandbox carries out no contracts of type {str(kind)[:64]}")
        value = parameter.get("value") if isinstance(parameter, dict) else None
        if not isinstance(value, dict):
            raise ProtocolError("the contract has no value")
        message = pb.Transaction(signature=[from_hex(s, "signature") for s in signatures])
        numbers = {name: whole(raw.get(name, 0), name) for name in ("expiration", "timestamp", "fee_limit")}
        texts = {name: from_hex(raw.get(name, ""), name) for name in ("ref_block_bytes", "ref_block_hash", "data")}
        message.raw_data.CopyFrom(pb.Transaction.raw(**numbers, **texts))
        parameter_bytes = read(TYPES[kind], value).SerializeToString()
        message.raw_data.contract.append(
            pb.Transaction.Contract(
                type=NUMBERS[kind],
                parameter=any_pb2.Any(type_url=f"type.googleapis.com/protocol.{kind}", value=parameter_bytes),
                Permission_id=whole(outer.get("Permission_id", 0), "Permission_id", 32),
            )
        )
        return cls(message)

    @property
    def owner(self) -> bytes:
        """Who sends it."""
        owner: bytes = self.contract.owner_address
        return owner

    def to_bytes(self) -> bytes:
        """Return the serialised transaction with its signatures."""
        data: bytes = self.message.SerializeToString()
        return data

    def bandwidth(self) -> int:
        """Return the bytes that it counts for."""
        return len(self.to_bytes()) + MAX_RESULT_SIZE

    def signers(self) -> list[bytes]:
        """Recover the addresses that signed it.

        Raises:
            ProtocolError: when a signature is no signature.
        """
        return [recover(self.txid, bytes(signature)) for signature in self.message.signature]

    def new_address(self) -> bytes:
        """Return the address of the contract that the transaction makes (WalletUtil.generateContractAddress)."""
        return addresses.PREFIX + bytes(keccak(self.txid + self.owner)[-20:])

    def to_json(self, *, visible: bool, result: str | None = None) -> Json:
        """Write java-tron's JSON; defaults are omitted."""
        raw = self.message.raw_data
        contract: Json = {
            "parameter": {
                "value": write(self.contract, visible=visible),
                "type_url": f"type.googleapis.com/protocol.{self.kind}",
            },
            "type": self.kind,
        }
        if raw.contract[0].Permission_id:
            contract["Permission_id"] = raw.contract[0].Permission_id
        fields: Json = {
            "contract": [contract],
            "ref_block_bytes": raw.ref_block_bytes.hex(),
            "ref_block_hash": raw.ref_block_hash.hex(),
            "expiration": raw.expiration,
        }
        if raw.data:
            fields["data"] = raw.data.hex()
        if raw.fee_limit:
            fields["fee_limit"] = raw.fee_limit
        if raw.timestamp:
            fields["timestamp"] = raw.timestamp
        found: Json = {
            "visible": visible,
            "txID": self.txid.hex(),
            "raw_data": fields,
            "raw_data_hex": self.raw.hex(),
        }
        if self.message.signature:
            found["signature"] = [s.hex() for s in self.message.signature]
        if self.kind == "CreateSmartContract":
            found["contract_address"] = self.new_address().hex()
        if result is not None:
            found["ret"] = [{"contractRet": result}]
        return found


def recover(digest: bytes, signature: bytes) -> bytes:
    """Return the address whose key signed the digest (65 bytes: r, s, and 27/28 or 0/1)."""
    if len(signature) != 65:
        raise ProtocolError("Signature size is " + str(len(signature)))
    last = signature[64] - 27 if signature[64] >= 27 else signature[64]
    if last not in (0, 1):
        raise ProtocolError("Header byte out of range: " + str(signature[64]))
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes([last]), digest, hasher=None)
    except Exception as error:  # coincurve raises plain exceptions
        raise ProtocolError(str(error)) from error
    return addresses.of_public_key(key.format(compressed=False))


def merkle_root(leaves: list[bytes]) -> bytes:
    """Return the root over the transactions' hashes; an odd one is carried up; no leaves give zeros."""
    if not leaves:
        return ZERO_HASH
    while len(leaves) > 1:
        pairs = zip(leaves[::2], [*leaves[1::2], None], strict=False)
        leaves = [hashlib.sha256(a + b).digest() if b is not None else a for a, b in pairs]
    return leaves[0]


def varint(number: int) -> bytes:
    """Encode a protobuf varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def header_bytes(
    *, timestamp: int, root: bytes, parent: bytes, number: int, witness: bytes, version: int
) -> bytes:
    """Serialise `BlockHeader.raw` (timestamp 1, txTrieRoot 2, parentHash 3, number 7, witness 9, version 10)."""
    parts = [b"\x08", varint(timestamp), b"\x12\x20", root, b"\x1a\x20", parent]
    if number:
        parts += [b"\x38", varint(number)]
    parts += [b"\x4a\x15", witness, b"\x50", varint(version)]
    return b"".join(parts)


def block_id(number: int, header: bytes) -> bytes:
    """Return the id of a block: its number in 8 bytes, then 24 bytes of its hash."""
    return number.to_bytes(8, "big") + hashlib.sha256(header).digest()[8:]
