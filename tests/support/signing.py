"""The signer in one process with the test, over the real database, asked through HTTP's application interface."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

import payments.main
from common.clock import SystemClock
from common.db import Database
from common.internal import InternalClient
from payments.adapters.keys import new_seed
from payments.adapters.remote_signer import RemoteSigner
from payments.domain.model import StoredSeed
from payments.settings import SignerSettings
from payments.use_cases.manage_seed import create_seed
from payments.use_cases.sign_intent import Signing
from support.servers import Databases

SEED_KEY = bytes(range(32))
SIGNER_CREDENTIAL = "secret-of-payments-at-the-signer"


@dataclass(frozen=True, slots=True)
class SigningHouse:
    """The signer with a new seed, its words, and the way to it that payments has."""

    app: FastAPI
    stored: StoredSeed
    words: str
    remote: RemoteSigner


async def open_signer(databases: Databases, stack: AsyncExitStack, **more: Any) -> SigningHouse:
    """Make a seed and put the signer together; `more` are settings."""
    database = Database(databases.signer_url, "signer-test", 4)
    stack.push_async_callback(database.close)
    stored, words = await create_seed(database, lambda: new_seed(SEED_KEY))
    assert words is not None, "the database was not clean"
    given: dict[str, Any] = {
        "signer_database_url": databases.signer_url,
        "payments_seed_key_file": Path("unread"),
        "service_callers": {"payments": SIGNER_CREDENTIAL},
        "signer_fuel_per_hour_sun": 10**12,
        **more,
    }
    settings = SignerSettings(**given)
    contracts, limits = payments.main.build_limits(settings)
    signer = payments.main.build_signer(stored, SEED_KEY, contracts, settings)
    app = payments.main.build_signer_app({"database": database.ping})
    app.state.callers = settings.service_callers
    app.state.signing = Signing(database, signer.signed, SystemClock(), limits)
    client = InternalClient("http://signer", SIGNER_CREDENTIAL, transport=httpx.ASGITransport(app))
    stack.push_async_callback(client.close)
    return SigningHouse(app, stored, words, RemoteSigner(client))
