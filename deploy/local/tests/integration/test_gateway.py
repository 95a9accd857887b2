"""The gateway alone, with nobody behind it."""

import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from garant_local.nats import binary
from garant_local.settings import ROOT
from support.servers import free_port, running, temporary_folder


@pytest.fixture(scope="module")
def lonely_gateway() -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def answers() -> bool:
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{url}/docs")).status_code == 200
        except httpx.HTTPError:
            return False

    with temporary_folder() as folder:
        gateway = ROOT / "deploy" / "gateway"
        environment = {
            **os.environ,
            "GATEWAY_ADDRESS": f"http://:{port}",
            "GATEWAY_SITE": str(gateway / "site"),
            "HOME": str(folder),
            **{f"{s}_UPSTREAM": "127.0.0.1 1" for s in ("ACCOUNTS", "DEALS", "PAYMENTS", "CHAT")},
        }
        config = str(gateway / "Caddyfile")
        argv = [binary("caddy"), "run", "--config", config, "--adapter", "caddyfile"]
        with running(argv, answers, signal.SIGTERM, log=folder / "log", environment=environment):
            yield url


@pytest.mark.parametrize(
    "path",
    ["/api/v1/user/1", "/api/v1/deal", "/api/v1/payment/gateways/", "/api/v1/chat/x", "/socket.io/?EIO=4"],
)
async def test_a_service_that_is_down_is_503_with_a_problem(lonely_gateway: str, path: str) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.get(lonely_gateway + path)

    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert (answer.json()["code"], answer.json()["status"]) == ("unavailable", 503)
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["/", "/internal/v1/invariants", "/api/v2/user", "/api/v1/userx", "/docs/x"])
async def test_every_other_path_is_404_with_a_problem(lonely_gateway: str, path: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(lonely_gateway + path)

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_found"
