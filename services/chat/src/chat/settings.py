"""The settings of chat."""

from typing import Annotated

from pydantic import Field, StringConstraints

from common.settings import CommandSettings, Port, PostgresUrl, ServiceSettings


class ChatSettings(ServiceSettings):
    """What chat is told beside the settings of every service."""

    chat_database_url: PostgresUrl
    chat_port: Port = 8004
    deals_url: str = "http://127.0.0.1:8002"
    chat_token_public_key: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    """The Ed25519 public key, 32 bytes in hex, whose private key deals signs with."""
    chat_accept_plain_chat_id: bool = False
    """Whether the plain chat id opens a chat; participant tokens always do."""
    chat_allowed_origins: str = "*"
    """Origins of web pages that may connect, separated by commas; `*` is any."""
    database_pool_size: int = Field(default=10, ge=2, le=100)


class ChatCommandSettings(CommandSettings):
    """What a migration needs: the database alone."""

    chat_database_url: PostgresUrl
