"""The settings of deals."""

from typing import Annotated

from pydantic import Field, StringConstraints

from common.settings import CommandSettings, MigrationSettings, Port, PostgresUrl, ServiceSettings


class DealsSettings(ServiceSettings):
    """What deals is told beside the settings of every service."""

    deals_database_url: PostgresUrl
    deals_port: Port = 8002
    accounts_url: str = "http://127.0.0.1:8001"
    chat_token_private_key: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    """An Ed25519 private key, 32 bytes in hex; chat holds the public key."""
    database_pool_size: int = Field(default=10, ge=2, le=100)


class DealsCommandSettings(CommandSettings):
    """What a migration needs: the database alone."""

    deals_database_url: PostgresUrl


class DealsMigrationSettings(DealsCommandSettings, MigrationSettings):
    """What `migrate` needs: the database, and its owner where that is another."""
