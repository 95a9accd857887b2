"""The settings of payments."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from common.money import Amount
from common.settings import CommandSettings, Port, PostgresUrl, ServiceSettings
from payments.adapters.tron_address import is_tron_address

USDT_MAINNET = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"


def _tron_address(value: str) -> str:
    if not is_tron_address(value):
        raise ValueError("is no Tron address, or its checksum is wrong")
    return value


TronAddress = Annotated[str, AfterValidator(_tron_address)]


class PaymentsSettings(ServiceSettings):
    """What payments is told beside the settings of every service."""

    payments_database_url: PostgresUrl
    payments_port: Port = 8003
    accounts_url: str = "http://127.0.0.1:8001"
    database_pool_size: int = Field(default=10, ge=2, le=100)
    tron_node_url: str = "http://127.0.0.1:9090"
    tron_usdt_contract: TronAddress = USDT_MAINNET
    tron_main_wallet: TronAddress | None = None
    """Where sweeps go; the seed's own main wallet where it is not set."""
    payments_seed_key_file: Path
    """A file with 32 bytes in hex: the AES-256 key that the seed is encrypted with."""
    tron_scan_interval_s: float = Field(default=3.0, gt=0, le=60)
    payments_check_interval_s: float = Field(default=60.0, gt=0, le=3600)
    payment_lifetime_s: int = Field(default=3600, ge=10, le=30 * 86_400)
    sweep_threshold: Amount = Decimal(1)
    """In whole USDT: less stays in the wallet as dust."""
    sweep_fee_cap_sun: int = Field(default=30_000_000, ge=1)
    """The most that one sweep may burn."""


class PaymentsCommandSettings(CommandSettings):
    """What the commands need."""

    payments_database_url: PostgresUrl
    payments_seed_key_file: Path | None = None
