"""Errors reach Sentry's protocol, and no secret goes with them."""

import asyncio
import secrets

import sentry_sdk

from common import logging
from common.logging import get_logger, report
from support.sentry import local_sentry
from support.waiting import eventually

SECRET = secrets.token_hex(16)


def fail_with_a_secret() -> None:
    """Fail in a frame that holds a secret."""
    private_key = SECRET  # its source line is reported, its value must not be
    raise ValueError(f"it failed after {len(private_key)} characters")


async def test_an_error_is_reported_without_the_locals_of_its_frames() -> None:
    async with local_sentry() as sentry:
        try:
            logging.configure("payments", json=True, sentry_dsn=sentry.dsn)
            try:
                fail_with_a_secret()
            except ValueError as error:
                report(error)
            await eventually(sentry.services, lambda found: found == {"payments"})
            get_logger().info("test.done")
        finally:
            await asyncio.to_thread(sentry_sdk.get_client().close, 2)
            sentry_sdk.init(dsn=None)

    (event,) = sentry.heard
    assert "it failed after 32 characters" in event
    assert SECRET not in event
