"""The contracts of transactions as protobuf; tronpy's own set lacks Stake 2.0 and smart contracts' creation.

Numbers and names are java-tron's (Tron.proto, balance_contract.proto, smart_contract.proto).
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from tronpy.proto import tron_pb2 as pb

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tron_sandbox.contracts"
_PLAIN: dict[str, "_Field.Type.ValueType"] = {
    "bytes": _Field.TYPE_BYTES,
    "int64": _Field.TYPE_INT64,
    "int32": _Field.TYPE_INT32,
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
}
_ENUMS = {
    "ResourceCode": ("BANDWIDTH", "ENERGY", "TRON_POWER"),
    "EntryType": ("UnknownEntryType", "Constructor", "Function", "Event", "Fallback", "Receive", "Error"),
    "StateMutabilityType": ("UnknownMutabilityType", "Pure", "View", "Nonpayable", "Payable"),
}
_MESSAGES = {
    "FreezeBalanceV2Contract": "owner_address:bytes frozen_balance:int64 resource:ResourceCode",
    "UnfreezeBalanceV2Contract": "owner_address:bytes unfreeze_balance:int64 resource:ResourceCode",
    "WithdrawExpireUnfreezeContract": "owner_address:bytes",
    "CancelAllUnfreezeV2Contract": "owner_address:bytes",
    "DelegateResourceContract": "owner_address:bytes resource:ResourceCode balance:int64 receiver_address:bytes"
    " lock:bool lock_period:int64",
    "UnDelegateResourceContract": "owner_address:bytes resource:ResourceCode balance:int64 receiver_address:bytes",
    "Param": "indexed:bool name:string type:string",
    "Entry": "anonymous:bool constant:bool name:string inputs:Param* outputs:Param* type:EntryType payable:bool"
    " stateMutability:StateMutabilityType",
    "ABI": "entrys:Entry*",
    "SmartContract": "origin_address:bytes contract_address:bytes abi:ABI bytecode:bytes call_value:int64"
    " consume_user_resource_percent:int64 name:string origin_energy_limit:int64 code_hash:bytes trx_hash:bytes"
    " version:int32",
    "CreateSmartContract": "owner_address:bytes new_contract:SmartContract call_token_value:int64 token_id:int64",
}
"""Fields in the order of their numbers; a star marks what is repeated."""


def _build() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="tron_sandbox.proto", package=_PACKAGE, syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            # In protobuf the names of values are the file's, so these take their enum's before theirs.
            enum.value.add(name=f"{name}_{value}", number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields.split(), 1):
            field_name, _, kind = field.partition(":")
            _add_field(message.field.add(name=field_name, number=number), kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


def _add_field(field: _Field, kind: str) -> None:
    field.label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    if kind in _PLAIN:
        field.type = _PLAIN[kind]
    else:
        field.type = _Field.TYPE_ENUM if kind in _ENUMS else _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


_OURS = _build()
_NUMBERS = {
    "CreateSmartContract": 30,
    "FreezeBalanceV2Contract": 54,
    "UnfreezeBalanceV2Contract": 55,
    "WithdrawExpireUnfreezeContract": 56,
    "DelegateResourceContract": 57,
    "UnDelegateResourceContract": 58,
    "CancelAllUnfreezeV2Contract": 59,
}
NUMBERS = {"AccountCreateContract": 0, "TransferContract": 1, "TriggerSmartContract": 31, **_NUMBERS}
"""The contract types that the sandbox carries out, and their numbers in a transaction."""
TYPES: dict[str, type[Message]] = {
    "AccountCreateContract": pb.AccountCreateContract,
    "TransferContract": pb.TransferContract,
    "TriggerSmartContract": pb.TriggerSmartContract,
    **{name: _OURS[name] for name in _NUMBERS},
}
ABI = _OURS["ABI"]
