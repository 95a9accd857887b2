"""The settings of accounts."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from common.settings import CommandSettings, MigrationSettings, Port, PostgresUrl, ServiceSettings


class AccountsSettings(ServiceSettings):
    """What accounts is told beside the settings of every service."""

    accounts_database_url: PostgresUrl
    accounts_port: Port = 8001
    payments_url: str = "http://127.0.0.1:8003"
    """Whom to ask what was received, when an event did not arrive."""
    database_pool_size: int = Field(default=10, ge=2, le=100)


class AccountsCommandSettings(CommandSettings):
    """What the commands need: the database alone."""

    accounts_database_url: PostgresUrl


class BootstrapKey(BaseModel):
    """A key to be known from the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: Annotated[str, StringConstraints(min_length=1)]
    scopes: tuple[str, ...]
    key: Annotated[str, StringConstraints(pattern="^gk_[A-Za-z0-9_-]{43}$")]


class AccountsBootstrapSettings(AccountsCommandSettings):
    """What `bootstrap` is told."""

    bootstrap_keys: tuple[BootstrapKey, ...] = Field(repr=False)
    """JSON: the keys, each with its tenant's name and its scopes: 256 random bits behind `gk_`, base64url."""


class AccountsMigrationSettings(AccountsCommandSettings, MigrationSettings):
    """What `migrate` needs: the database, and its owner where that is another."""
