"""The settings of accounts."""

from pydantic import Field

from common.settings import Port, PostgresUrl, ServiceSettings


class AccountsSettings(ServiceSettings):
    """What accounts is told beside the settings of every service."""

    accounts_database_url: PostgresUrl
    accounts_port: Port = 8001
    database_pool_size: int = Field(default=10, ge=2, le=100)


class CommandSettings(ServiceSettings):
    """What the commands need: the database alone."""

    service_credential: str = ""
    service_callers: dict[str, str] = Field(default_factory=dict)
    accounts_database_url: PostgresUrl
