"""Errors reach Sentry's protocol, and no secret goes with them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import sentry_sdk

from common import logging
from common.logging import get_logger, report
from support.sentry import Sentry, local_sentry
from support.waiting import eventually

SECRET = secrets.token_hex(16)


def fail_with_a_secret() -> None:
    """Fail in a frame that holds a secret."""
    private_key = SECRET  # its source line is reported, its value must not be
    raise ValueError(f"it failed after {len(private_key)} characters")


@asynccontextmanager
async def reporting() -> AsyncIterator[Sentry]:
    """Report to a local Sentry inside the block; all of it has arrived after the block."""
    async with local_sentry() as sentry:
        try:
            logging.configure("payments", json=True, sentry_dsn=sentry.dsn)
            yield sentry
            await eventually(sentry.services, lambda found: found == {"payments"})
            get_logger().info("test.done")
        finally:
            await asyncio.to_thread(sentry_sdk.get_client().close, 2)
            sentry_sdk.init(dsn=None)


async def test_an_error_is_reported_without_the_locals_of_its_frames() -> None:
    async with reporting() as sentry:
        try:
            fail_with_a_secret()
        except ValueError as error:
            report(error)

    (event,) = sentry.heard
    assert "it failed after 32 characters" in event
    assert SECRET not in event


async def test_an_error_is_reported_without_the_urls_that_were_called_before() -> None:
    async with reporting() as sentry, httpx.AsyncClient() as http:
        root = sentry.dsn.replace("public@", "").removesuffix("/1")
        for url in (f"{root}/{SECRET}/wallet", f"{root}/?key={SECRET}"):
            answer = await http.get(url)
            assert answer.status_code == 404
        get_logger().warning("before.the_error")
        report(ValueError("afterwards"))

    (event,) = [envelope for envelope in sentry.heard if '"type":"event"' in envelope]
    assert "before.the_error" in event
    assert SECRET not in event
