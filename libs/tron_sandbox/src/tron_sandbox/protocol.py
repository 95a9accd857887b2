"""Transactions and block headers as protobuf, and as java-tron's JSON."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from coincurve import PublicKey
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from tronpy.proto import tron_pb2 as pb

from tron_sandbox import addresses
from tron_sandbox.messages import STAKE

Json = dict[str, Any]
ZERO_HASH = bytes(32)
MAX_RESULT_SIZE = 64
"""Bytes that java-tron adds to each transaction for its result when it counts bandwidth."""


class ProtocolError(ValueError):
    """JSON or bytes that are no transaction of a kind the sandbox knows."""


def _int(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProtocolError(f"{name} must be a whole number")
    if not -(2**63) <= value < 2**63:
        raise ProtocolError(f"{name} is out of range")
    return value


def _hex(value: Any, name: str) -> bytes:
    if not isinstance(value, str):
        raise ProtocolError(f"{name} must be hex")
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise ProtocolError(f"{name} must be hex") from error


def _account_create(v: Json) -> Any:
    return pb.AccountCreateContract(
        owner_address=addresses.from_text(v.get("owner_address")),
        account_address=addresses.from_text(v.get("account_address")),
    )


def _transfer(v: Json) -> Any:
    return pb.TransferContract(
        owner_address=addresses.from_text(v.get("owner_address")),
        to_address=addresses.from_text(v.get("to_address")),
        amount=_int(v.get("amount", 0), "amount"),
    )


def _trigger(v: Json) -> Any:
    return pb.TriggerSmartContract(
        owner_address=addresses.from_text(v.get("owner_address")),
        contract_address=addresses.from_text(v.get("contract_address")),
        data=_hex(v.get("data", ""), "data"),
        call_value=_int(v.get("call_value", 0), "call_value"),
        call_token_value=_int(v.get("call_token_value", 0), "call_token_value"),
        token_id=_int(v.get("token_id", 0), "token_id"),
    )


_RESOURCES = {"BANDWIDTH": 0, "ENERGY": 1}


def _resource(value: Any) -> int:
    if isinstance(value, str):
        if value not in _RESOURCES:
            raise ProtocolError(f"INVALID resource {value[:64]}")
        return _RESOURCES[value]
    return _int(value, "resource")


def _stake(kind: str) -> Callable[[Json], Any]:
    """Return what reads a contract of Stake 2.0: its fields by their names."""
    message = STAKE[kind]

    def read(v: Json) -> Any:
        values: Json = {}
        for name in message.DESCRIPTOR.fields_by_name:
            if name.endswith("_address"):
                values[name] = addresses.from_text(v.get(name))
            elif name == "resource":
                values[name] = _resource(v.get(name, 0))
            elif name == "lock":
                values[name] = v.get(name) in (True, "true")
            else:
                values[name] = _int(v.get(name, 0), name)
        return message(**values)

    return read


_FROM_JSON = {
    "AccountCreateContract": _account_create,
    "TransferContract": _transfer,
    "TriggerSmartContract": _trigger,
    **{kind: _stake(kind) for kind in STAKE},
}
_TYPES: Mapping[str, type[Message]] = {
    "AccountCreateContract": pb.AccountCreateContract,
    "TransferContract": pb.TransferContract,
    "TriggerSmartContract": pb.TriggerSmartContract,
    **STAKE,
}
_ADDRESS_FIELDS = ("owner_address", "to_address", "account_address", "contract_address", "receiver_address")


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
        self.kind: str = pb.Transaction.Contract.ContractType.Name(outer.type)
        kind = _TYPES.get(self.kind)
        if kind is None:
            raise ProtocolError(f"the sandbox does not know {self.kind} yet")
        self.contract: Any = kind()
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
        if kind not in _FROM_JSON or not isinstance(parameter, dict):
            raise ProtocolError(f"the sandbox does not know {str(kind)[:64]} yet")
        value = parameter.get("value")
        if not isinstance(value, dict):
            raise ProtocolError("the contract has no value")
        message = pb.Transaction(signature=[_hex(s, "signature") for s in signatures])
        message.raw_data.CopyFrom(
            pb.Transaction.raw(
                ref_block_bytes=_hex(raw.get("ref_block_bytes", ""), "ref_block_bytes"),
                ref_block_hash=_hex(raw.get("ref_block_hash", ""), "ref_block_hash"),
                expiration=_int(raw.get("expiration", 0), "expiration"),
                timestamp=_int(raw.get("timestamp", 0), "timestamp"),
                data=_hex(raw.get("data", ""), "data"),
                fee_limit=_int(raw.get("fee_limit", 0), "fee_limit"),
            )
        )
        message.raw_data.contract.append(
            pb.Transaction.Contract(
                type=pb.Transaction.Contract.ContractType.Value(kind),
                parameter=any_pb2.Any(
                    type_url=f"type.googleapis.com/protocol.{kind}",
                    value=_FROM_JSON[kind](value).SerializeToString(),
                ),
                Permission_id=_int(outer.get("Permission_id", 0), "Permission_id"),
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

    def to_json(self, *, visible: bool, result: str | None = None) -> Json:
        """Write java-tron's JSON; defaults are omitted."""
        raw = self.message.raw_data
        value: Json = {}
        for field, content in self.contract.ListFields():
            if field.name in _ADDRESS_FIELDS:
                value[field.name] = addresses.to_text(content, visible=visible)
            elif field.name == "resource":
                value[field.name] = "ENERGY"
            else:
                value[field.name] = content.hex() if isinstance(content, bytes) else content
        contract: Json = {
            "parameter": {"value": value, "type_url": f"type.googleapis.com/protocol.{self.kind}"},
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
