"""The settings of accounts."""

from pydantic import Field

from common.settings import CommandSettings, Port, PostgresUrl, ServiceSettings


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
