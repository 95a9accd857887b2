"""The secrets of docker-compose.yml: a file for each, in a folder that nobody else can enter.

The files themselves can be read by all: a container's user is not the one who made them, and sees only those that
it is given.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from garant_local.secrets import (
    SERVICES,
    bootstrap_keys,
    load_secrets,
    public_key,
    service_callers,
    signer_callers,
)

MARKETPLACE = {"development": "marketplace"}
"""Elsewhere than in development there is one tenant."""
KEPT = {"tron_node_keys": "{}"}
"""What a person writes: made once, with what it is at first."""


def write_secret_files(folder: Path, tenants: Mapping[str, str] = MARKETPLACE) -> dict[str, Any]:
    """Make the secrets that are missing, write all of their files, and return the secrets."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    secrets = load_secrets(folder)
    for name, text in _files(secrets, tenants).items():
        _write(folder / name, text)
    for name, text in KEPT.items():
        if not (folder / name).exists():
            _write(folder / name, text)
    return secrets


def _files(secrets: dict[str, Any], tenants: Mapping[str, str]) -> dict[str, str]:
    return {
        "postgres_password": secrets["postgres"],
        "database_owner_url": _postgres("garant", secrets["postgres"], "postgres"),
        **{f"{s}_database_url": _postgres(f"garant_{s}", secrets[s], f"garant_{s}") for s in SERVICES},
        "signer_database_url": _postgres("garant_signer", secrets["signer"], "garant_payments"),
        "nats_auth": f'authorization {{ user: garant, password: "{secrets["nats"]}", timeout: 5 }}',
        "nats_url": f"nats://garant:{secrets['nats']}@nats:4222",
        "service_callers": service_callers(secrets),
        **{f"{s}_credential": secrets[s] for s in SERVICES},
        "signer_credential": secrets["signer_credential"],
        "signer_callers": signer_callers(secrets),
        "seed_key": secrets["seed_key"],
        "chat_token_private_key": secrets["chat_token_private_key"],
        "chat_token_public_key": public_key(secrets["chat_token_private_key"]),
        "bootstrap_keys": bootstrap_keys(secrets, tenants),
        "operator_credential": secrets["operator"],
    }


def _postgres(role: str, password: str, database: str) -> str:
    return f"postgresql://{role}:{password}@postgres:5432/{database}"


def _write(path: Path, text: str) -> None:
    """Write in place: a container that has the file sees the new text once it starts again."""
    path.write_text(text + "\n")
    path.chmod(0o644)
