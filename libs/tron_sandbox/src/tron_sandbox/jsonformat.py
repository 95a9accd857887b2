"""Protobuf to java-tron's JSON and back (JsonFormat.java): defaults omitted, bytes in hex, addresses as wanted."""

from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from tron_sandbox import addresses

Json = dict[str, Any]
_OPTIONAL_ADDRESSES = ("contract_address", "origin_address")


class ProtocolError(ValueError):
    """JSON or bytes that are not what they should be."""


def read(kind: type[Any], values: Json) -> Any:
    """Read a message; fields that it does not have are ignored.

    Raises:
        ProtocolError, AddressError: when a field can't be read, or an address is missing.
    """
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        value = values.get(field.name)
        if value is None and (not field.name.endswith("_address") or field.name in _OPTIONAL_ADDRESSES):
            continue
        if field.is_repeated:
            if not isinstance(value, list):
                raise ProtocolError(f"{field.name} must be a list")
            for one in value:
                _fill(getattr(message, field.name).add(), field, one)
        elif field.message_type is not None:
            _fill(getattr(message, field.name), field, value)
        else:
            setattr(message, field.name, _plain(field, value))
    return message


def _fill(place: Any, field: FieldDescriptor, value: Any) -> None:
    if not isinstance(value, dict):
        raise ProtocolError(f"{field.name} must be an object")
    assert field.message_type is not None
    place.CopyFrom(read(GetMessageClass(field.message_type), value))


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return _enum(field.enum_type, field.name, value)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            if value not in (True, False, "true", "false"):
                raise ProtocolError(f'Expected "true" or "false" for {field.name}')
            return value in (True, "true")
        case FieldDescriptor.CPPTYPE_INT64 | FieldDescriptor.CPPTYPE_INT32:
            return whole(value, field.name, 64 if field.cpp_type == FieldDescriptor.CPPTYPE_INT64 else 32)
        case _ if field.type == FieldDescriptor.TYPE_STRING:
            if not isinstance(value, str):
                raise ProtocolError(f"{field.name} must be text")
            return value
        case _ if field.name.endswith("_address"):
            return addresses.from_text(value)
        case _:
            return from_hex(value, field.name)


def whole(value: Any, name: str, bits: int = 64) -> int:
    """Read a whole number, which java-tron takes as text too."""
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 32:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProtocolError(f"Couldn't parse integer: {name}")
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise ProtocolError(f"Number out of range for {bits}-bit signed integer: {name}")
    return value


def from_hex(value: Any, name: str) -> bytes:
    """Read bytes in hex."""
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise ProtocolError(f"INVALID hex String: {name}") from error


def _enum(kind: EnumDescriptor, name: str, value: Any) -> int:
    """Read an enum by its number or its name, which may be in lower case."""
    if isinstance(value, str) and not value.isdecimal():
        wanted = value if value[:1].isupper() else value.capitalize()
        found = kind.values_by_name.get(f"{kind.name}_{wanted}")
        if found is None:
            raise ProtocolError(f'Enum type "protocol.{kind.name}" has no value named "{value[:64]}"')
        return int(found.number)
    return whole(value, name, 32)


def write(message: Any, *, visible: bool) -> Json:
    """Write a message."""
    found: Json = {}
    for field, content in message.ListFields():
        if field.is_repeated:
            found[field.name] = [write(one, visible=visible) for one in content]
        elif field.message_type is not None:
            found[field.name] = write(content, visible=visible)
        elif field.enum_type is not None:
            known = field.enum_type.values_by_number.get(content)
            found[field.name] = known.name.removeprefix(f"{field.enum_type.name}_") if known else content
        elif field.name.endswith("_address"):
            found[field.name] = addresses.to_text(content, visible=visible)
        else:
            found[field.name] = content.hex() if isinstance(content, bytes) else content
    return found
