"""The settings of chat."""

from typing import Annotated

from pydantic import Field, StringConstraints

from common.settings import CommandSettings, MigrationSettings, Port, PostgresUrl, ServiceSettings


class ChatSettings(ServiceSettings):
    """What chat is told beside the settings of every service."""

    chat_database_url: PostgresUrl
    chat_port: Port = 8004
    accounts_url: str = "http://127.0.0.1:8001"
    deals_url: str = "http://127.0.0.1:8002"
    chat_token_public_key: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    """The Ed25519 public key, 32 bytes in hex, whose private key deals signs with."""
    chat_accept_plain_chat_id: bool = False
    """Whether the plain chat id opens a chat; participant tokens always do."""
    chat_read_only_after: int = Field(default=30, ge=0, le=36_500)
    """Days after the end of its deal from which a chat is only read."""
    chat_allowed_origins: str = "*"
    """Origins of web pages that may connect, separated by commas; `*` is any."""
    chat_trusted_proxies: str = "127.0.0.0/8,::1/128"
    """Networks, separated by commas, of proxies whose `X-Forwarded-For` is believed."""
    chat_client_messages_per_s: int = Field(default=2_000, ge=1, le=100_000)
    chat_chat_messages_per_s: int = Field(default=4_000, ge=1, le=100_000)
    chat_connections: int = Field(default=20_000, ge=1, le=1_000_000)
    chat_connections_per_chat: int = Field(default=200, ge=1, le=1_000_000)
    chat_connections_per_address: int = Field(default=2_000, ge=1, le=1_000_000)
    chat_refusals_per_minute: int = Field(default=120, ge=1, le=1_000_000)
    """Refused CONNECTs and malformed packets of one address, after which it may not connect for a while."""
    chat_client_buffer_bytes: int = Field(default=1024 * 1024, ge=64 * 1024, le=64 * 1024 * 1024)
    chat_frame_bytes: int = Field(default=64 * 1024, ge=64 * 1024, le=1024 * 1024)
    chat_lean: bool = True
    """Whether WebSockets are written to directly; off is python-engineio's own path."""
    database_pool_size: int = Field(default=10, ge=2, le=100)


class ChatCommandSettings(CommandSettings):
    """What the commands need: the database alone."""

    chat_database_url: PostgresUrl


class ChatMigrationSettings(ChatCommandSettings, MigrationSettings):
    """What `migrate` needs: the database, and its owner where that is another."""
