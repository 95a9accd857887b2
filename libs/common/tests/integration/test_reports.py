"""Errors reach Sentry's protocol, and no secret goes with them."""

import asyncio
import gzip
import secrets

import sentry_sdk
from aiohttp import web

from common import logging
from common.logging import get_logger, report
from support.servers import free_port

SECRET = secrets.token_hex(16)


def fail_with_a_secret() -> None:
    """Fail in a frame that holds a secret."""
    private_key = SECRET  # its source line is reported, its value must not be
    raise ValueError(f"it failed after {len(private_key)} characters")


async def test_an_error_is_reported_without_the_locals_of_its_frames() -> None:
    heard: list[str] = []
    arrived = asyncio.Event()

    async def envelope(request: web.Request) -> web.Response:
        body = await request.read()
        heard.append((gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode())
        arrived.set()
        return web.json_response({"id": "0" * 32})

    app = web.Application()
    app.router.add_post("/api/1/envelope/", envelope)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        logging.configure("payments", json=True, sentry_dsn=f"http://public@127.0.0.1:{port}/1")
        try:
            fail_with_a_secret()
        except ValueError as error:
            report(error)
        await asyncio.wait_for(arrived.wait(), 10)
        get_logger().info("test.done")
    finally:
        await asyncio.to_thread(sentry_sdk.get_client().close, 2)
        sentry_sdk.init(dsn=None)
        await runner.cleanup()

    (event,) = heard
    assert "it failed after 32 characters" in event
    assert '"service":"payments"' in event.replace(" ", "")
    assert SECRET not in event
