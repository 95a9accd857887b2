"""The settings of payments: one class for the API and the worker, one for the signer, and those of commands."""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import NoDecode

from common.money import Amount
from common.settings import (
    Address,
    CommandSettings,
    CurrencyList,
    MigrationSettings,
    Port,
    PostgresUrl,
    ProcessSettings,
    Secret,
    ServiceSettings,
)
from payments.adapters.tron_address import is_tron_address

USDT_MAINNET = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"


def _tron_address(value: str) -> str:
    if not is_tron_address(value):
        raise ValueError("is no Tron address, or its checksum is wrong")
    return value


TronAddress = Annotated[str, AfterValidator(_tron_address)]


class WithdrawalLimit(BaseModel):
    """What one API key may withdraw: at once, within 24 hours, and without another key's approval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most: Amount
    per_day: Amount
    approval_above: Amount | None = None


def _node_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be the URL of a Tron node, http(s)://…")
    return value


NodeUrl = Annotated[str, AfterValidator(_node_url)]


def _split(value: object) -> object:
    """Read a list of URLs: JSON, or separated by commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


NodeUrls = Annotated[tuple[NodeUrl, ...], NoDecode, BeforeValidator(_split)]


class PaymentsSettings(ServiceSettings):
    """What payments is told beside the settings of every service."""

    payments_database_url: PostgresUrl
    payments_port: Port = 8003
    accounts_url: str = "http://127.0.0.1:8001"
    database_pool_size: int = Field(default=10, ge=2, le=100)
    tron_node_url: NodeUrl = "http://127.0.0.1:9090"
    tron_node_urls: NodeUrls = ()
    """Several nodes, the preferred one first: separated by commas, or JSON; TRON_NODE_URL where it is not set."""
    tron_node_keys: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """JSON: a node's key by its URL, sent as TRON-PRO-API-KEY."""
    tron_node_calls_per_s: float = Field(default=15.0, gt=0, le=10_000)
    tron_node_calls_per_day: int | None = Field(default=None, ge=1)
    tron_blocks_in_flight: int = Field(default=16, ge=1, le=200)
    """How many blocks are fetched at a time while the scanner catches up."""
    tron_stale_after_s: float = Field(default=90.0, ge=10, le=86_400)
    """How old the chain's head may be, by our clock, before that is an alarm."""
    tron_usdt_contract: TronAddress = USDT_MAINNET
    tron_main_wallet: TronAddress | None = None
    """Where sweeps go; the seed's own main wallet where it is not set."""
    signer_url: str = "http://127.0.0.1:8005"
    signer_credential: Secret
    """The secret that the signer knows payments by; no other service has it."""
    tron_scan_interval_s: float = Field(default=1.0, gt=0, le=60)
    payments_check_interval_s: float = Field(default=60.0, gt=0, le=3600)
    payment_lifetime_s: int = Field(default=3600, ge=10, le=30 * 86_400)
    gateways: str = "tron_usdt,tron_trx"
    """The plugins to load, by the names of their entry points (docs/gateways.md)."""
    sweep_thresholds: Mapping[str, Amount] = {"USDT": Decimal(1), "TRX": Decimal(10)}
    """JSON: by currency, in whole units: less stays in the wallet as dust."""
    sweep_fee_cap_sun: int = Field(default=30_000_000, ge=1)
    """The most that one sweep may cost, and one payout burn."""
    withdrawal_limits: Mapping[str, WithdrawalLimit] = {
        "USDT": WithdrawalLimit(most=Decimal(10_000), per_day=Decimal(50_000)),
        "TRX": WithdrawalLimit(most=Decimal(20_000), per_day=Decimal(100_000)),
    }
    """JSON: by currency, in whole units; above `approval_above` another key has to approve."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The Tron nodes, the preferred one first."""
        return self.tron_node_urls or (self.tron_node_url,)

    @model_validator(mode="after")
    def _keys_have_nodes(self) -> Self:
        if len(set(self.nodes)) != len(self.nodes):
            raise ValueError("TRON_NODE_URLS names a node twice")
        if not self.tron_node_keys.keys() <= set(self.nodes):
            raise ValueError("TRON_NODE_KEYS names a URL that is not one of TRON_NODE_URLS")
        return self


class SignerSettings(ProcessSettings):
    """What the signer is told."""

    signer_database_url: PostgresUrl
    signer_address: Address = "127.0.0.1"
    signer_port: Port = 8005
    payments_seed_key_file: Path
    """A file with 32 bytes in hex: the AES-256 key that the seed is encrypted with."""
    tron_usdt_contract: TronAddress = USDT_MAINNET
    tron_main_wallet: TronAddress | None = None
    """Where sweeps go; the seed's own main wallet where it is not set."""
    sweep_fee_cap_sun: int = Field(default=30_000_000, ge=1)
    """The most that one transaction may burn or be given."""
    currencies: CurrencyList = "USDT:6,TRX:6"
    signer_assets: Mapping[str, TronAddress] = {}
    """JSON: more assets by their code, each with its contract; CURRENCIES names their decimals."""
    signer_reference_age_s: int = Field(default=900, ge=60, le=86_400)
    """How old the block may be that a transaction refers to."""
    signer_fuel_per_hour_sun: int = Field(default=20_000_000_000, ge=0)
    """What fuel and the fees of payouts may take in a clock hour."""
    signer_payout_most: Mapping[str, Amount] = {"USDT": Decimal(10_000), "TRX": Decimal(20_000)}
    """JSON: the most of one payout, by code, in whole units; what is not named is not paid out."""
    signer_payout_per_day: Mapping[str, Amount] = {"USDT": Decimal(50_000), "TRX": Decimal(100_000)}
    """JSON: the most of all payouts of a UTC day, by code."""
    signer_payout_tries: int = Field(default=10, ge=1, le=1000)
    """How many transactions one payout may have, one after the other died."""


class PaymentsCommandSettings(CommandSettings):
    """What the commands need that work on payments' own rows."""

    payments_database_url: PostgresUrl


class SeedCommandSettings(CommandSettings):
    """What the commands of the seed need."""

    signer_database_url: PostgresUrl
    payments_seed_key_file: Path


class PaymentsMigrationSettings(PaymentsCommandSettings, MigrationSettings):
    """What `migrate` needs: the database, and its owner where that is another."""

    signer_database_url: PostgresUrl | None = None
    """The signer's role is made as well, where the owner is told."""
