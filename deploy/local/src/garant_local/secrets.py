"""The development secrets of one data folder: made once, kept in a file that only we can read."""

import json
import os
import secrets as random_secrets
from pathlib import Path
from typing import Any

SERVICES = ("accounts", "deals", "payments", "chat")


def load_secrets(data: Path) -> dict[str, Any]:
    """Return the secrets of the data folder, new ones the first time."""
    path = data / "secrets.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    names = ["postgres", "nats", "operator", *SERVICES, "signer", "signer_credential"]
    fresh: dict[str, Any] = {name: random_secrets.token_hex(24) for name in names}
    fresh["chat_token_private_key"] = random_secrets.token_hex(32)
    fresh["seed_key"] = random_secrets.token_hex(32)
    whole = fresh | kept
    if whole != kept:
        store_secrets(data, whole)
    return whole


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
