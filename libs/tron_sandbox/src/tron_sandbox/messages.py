"""The messages of Stake 2.0 as protobuf: tronpy's own set ends before them (java-tron, balance_contract.proto)."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tron_sandbox.stake"
_BYTES, _INT64, _INT32, _BOOL = _Field.TYPE_BYTES, _Field.TYPE_INT64, _Field.TYPE_INT32, _Field.TYPE_BOOL

# A resource is an enum there; on the wire it is a number like any other: 0 bandwidth, 1 energy.
_FIELDS: dict[str, list[tuple[str, int, "_Field.Type.ValueType"]]] = {
    "FreezeBalanceV2Contract": [
        ("owner_address", 1, _BYTES),
        ("frozen_balance", 2, _INT64),
        ("resource", 3, _INT32),
    ],
    "UnfreezeBalanceV2Contract": [
        ("owner_address", 1, _BYTES),
        ("unfreeze_balance", 2, _INT64),
        ("resource", 3, _INT32),
    ],
    "WithdrawExpireUnfreezeContract": [("owner_address", 1, _BYTES)],
    "DelegateResourceContract": [
        ("owner_address", 1, _BYTES),
        ("resource", 2, _INT32),
        ("receiver_address", 3, _BYTES),
        ("balance", 4, _INT64),
        ("lock", 5, _BOOL),
        ("lock_period", 6, _INT64),
    ],
    "UnDelegateResourceContract": [
        ("owner_address", 1, _BYTES),
        ("resource", 2, _INT32),
        ("receiver_address", 3, _BYTES),
        ("balance", 4, _INT64),
    ],
}


def _build() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="tron_sandbox_stake.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            message.field.add(name=field, number=number, type=kind, label=_Field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS
    }


STAKE: dict[str, type[Message]] = _build()
"""The messages by the name of their contract type."""
