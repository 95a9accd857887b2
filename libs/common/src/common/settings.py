"""Settings come from the environment, and secrets from files where `SECRETS_DIR` names their folder.

A file there has a setting's name in small letters, as Docker's and Kubernetes' secrets do; the environment wins.
A broken setting is one clear line that names the variable.
"""

import ipaddress
import os
import sys
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.money import Currencies

EXIT_BAD_SETTING = 2


def _postgresql_url(value: str) -> str:
    if not value.startswith("postgresql://"):
        raise ValueError("must begin with postgresql://")
    return value


PostgresUrl = Annotated[str, AfterValidator(_postgresql_url)]
Secret = Annotated[str, Field(min_length=16)]
Port = Annotated[int, Field(ge=1, le=65535)]


def _currencies(value: str) -> str:
    Currencies.parse(value)
    return value


def _dsn(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.username or not parts.hostname:
        raise ValueError("must be the DSN of a Sentry project, https://key@host/project")
    return value


def _address(value: str) -> str:
    ipaddress.ip_address(value)
    return value


Address = Annotated[str, AfterValidator(_address)]
CurrencyList = Annotated[str, AfterValidator(_currencies)]


class CommandSettings(BaseSettings):
    """What a command is told: each service adds its database."""

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True, env_ignore_empty=True)


class MigrationSettings(CommandSettings):
    """What `migrate` is told beside the service's database."""

    database_owner_url: PostgresUrl | None = None
    """Who may create roles and databases. With it `migrate` makes the role and the database that the service's own
    URL names and migrates as the owner; without it the service's URL itself has to be the owner's."""


class ProcessSettings(CommandSettings):
    """What every process that serves is told."""

    log_json: bool = False
    sentry_dsn: Annotated[str, AfterValidator(_dsn)] | None = None
    service_callers: dict[str, Secret]
    """JSON: the name and the secret of each service that may call our internal endpoints."""
    drain_s: int = Field(default=10, ge=3, le=10)
    """How long what is under way may take to finish once we are told to end; then it is cut off. More would leave
    no time for the rest (`common.runner.ENDS_WITHIN_S`)."""
    crash_point_file: Path | None = None
    """For tests alone: where they say at which point this process has to end (`common.crash`)."""


class ServiceSettings(ProcessSettings):
    """What every service is told."""

    listen_address: Address = "127.0.0.1"
    nats_url: str = "nats://127.0.0.1:4222"
    service_credential: Secret
    """Our own secret, by which the other services know us."""
    currencies: CurrencyList = "USDT:6,TRX:6"
    invariants_interval_s: float = Field(default=60.0, gt=0, le=86_400)
    """How often the worker proves its invariants."""


Settings = TypeVar("Settings", bound=BaseSettings)


def load(kind: type[Settings]) -> Settings:
    """Read the settings or end the process with exit code 2 and a line for each that is wrong."""
    folder = os.environ.get("SECRETS_DIR")
    if folder and not Path(folder).is_dir():
        sys.stderr.write("error: the setting SECRETS_DIR is not valid: there is no such folder\n")
        raise SystemExit(EXIT_BAD_SETTING)
    try:
        return kind(_secrets_dir=folder or None)
    except ValidationError as error:
        for item in error.errors():
            name = str(item["loc"][0] if item["loc"] else "settings").upper()
            problem = "is not set" if item["type"] == "missing" else f"is not valid: {item['msg']}"
            sys.stderr.write(f"error: the setting {name} {problem}\n")
        raise SystemExit(EXIT_BAD_SETTING) from None
    except Exception as error:  # pydantic-settings: JSON that can't be read
        sys.stderr.write(f"error: a setting is not valid: {error}\n")
        raise SystemExit(EXIT_BAD_SETTING) from None
