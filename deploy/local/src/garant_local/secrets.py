"""The development secrets of one data folder: made once, kept in a file that only we can read."""

import json
import os
import secrets as random_secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.auth import new_key

SERVICES = ("accounts", "deals", "payments", "chat")
KEYS = {
    "API_KEY": ("development", ("default",)),
    "ARBITER_API_KEY": ("development", ("default", "arbiter")),
    "OTHER_API_KEY": ("other", ("default", "arbiter")),
    "WITHDRAW_API_KEY": ("development", ("default", "withdraw")),
    "APPROVE_API_KEY": ("development", ("default", "approve")),
}
"""The development keys, each with its tenant and its scopes."""
TENANTS = {"development": "development", "other": "other"}


def load_secrets(data: Path) -> dict[str, Any]:
    """Return the secrets of the data folder, new ones the first time."""
    path = data / "secrets.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    names = ["postgres", "nats", "operator", *SERVICES, "signer", "signer_credential"]
    fresh: dict[str, Any] = {name: random_secrets.token_hex(24) for name in names}
    fresh["chat_token_private_key"] = random_secrets.token_hex(32)
    fresh["seed_key"] = random_secrets.token_hex(32)
    whole = fresh | kept
    whole["keys"] = {name: new_key() for name in KEYS} | kept.get("keys", {})
    if whole != kept:
        store_secrets(data, whole)
    return whole


def bootstrap_keys(secrets: dict[str, Any], tenants: Mapping[str, str] = TENANTS) -> str:
    """Return the keys of these tenants, each with its name, as `python -m accounts bootstrap` wants them."""
    wanted = [
        {"tenant": tenants[tenant], "scopes": scopes, "key": secrets["keys"][name]}
        for name, (tenant, scopes) in KEYS.items()
        if tenant in tenants
    ]
    return json.dumps(wanted)


def service_callers(secrets: dict[str, Any]) -> str:
    """Return who may call the services' internal endpoints, as SERVICE_CALLERS wants it."""
    return json.dumps({name: secrets[name] for name in (*SERVICES, "operator")})


def signer_callers(secrets: dict[str, Any]) -> str:
    """Return who may call the signer."""
    return json.dumps({"payments": secrets["signer_credential"]})


def public_key(private_key_hex: str) -> str:
    """Return the public half of an Ed25519 key, in hex."""
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_key_hex))
    return private.public_key().public_bytes_raw().hex()


def store_secrets(data: Path, secrets: dict[str, Any]) -> None:
    """Replace the file by rename, so that a crash leaves the old or the new one."""
    write_private(data / "secrets.json", json.dumps(secrets, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, by rename."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
