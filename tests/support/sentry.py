"""A local endpoint that speaks as much of Sentry's protocol as its SDK asks for: it keeps what is sent."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from support.servers import free_port


@dataclass(slots=True)
class Sentry:
    """The DSN of a project, and the envelopes that came."""

    dsn: str
    heard: list[str] = field(default_factory=list)

    async def services(self) -> set[str]:
        """Return the services that an error came from."""
        told = "".join(self.heard).replace(" ", "")
        return {name for name in SERVICES if f'"service":"{name}"' in told}


SERVICES = ("accounts", "deals", "payments", "signer", "chat")


@asynccontextmanager
async def local_sentry() -> AsyncIterator[Sentry]:
    """Serve the endpoint on a free port."""
    port = free_port()
    found = Sentry(f"http://public@127.0.0.1:{port}/1")

    async def envelope(request: web.Request) -> web.Response:
        body = await request.read()
        found.heard.append((gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode())
        return web.json_response({"id": "0" * 32})

    app = web.Application(client_max_size=10_000_000)
    app.router.add_post("/api/1/envelope/", envelope)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield found
    finally:
        await runner.cleanup()
