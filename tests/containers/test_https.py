"""HTTPS by the gateway itself, as docker-compose.yml has it with a domain; `localhost` gets Caddy's own certificate."""

import os
import secrets
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from garant_local.compose import DOCKER
from garant_local.settings import ROOT
from support.servers import free_port
from support.system import containers_of, docker

CA = "/data/caddy/pki/authorities/local/root.crt"

pytestmark = pytest.mark.timeout(200)


class Door(NamedTuple):
    """Where a gateway with a domain is reached, and whom it makes known."""

    http: str
    https: str
    authority: str


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Yield docker-compose.yml's gateway alone, with the domain `localhost`, on free ports."""
    project = f"garant-test-{secrets.token_hex(4)}"
    plain, safe = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(Path.home()),
        "COMPOSE_PROJECT_NAME": project,
        "DOMAIN": "localhost",
        "GATEWAY_PUBLISH": f"127.0.0.1:{plain}",
        "GATEWAY_PUBLISH_HTTPS": f"127.0.0.1:{safe}",
        "GARANT_SECRETS": str(tmp_path_factory.mktemp("secrets")),
        "TRON_NODE_URLS": "http://nowhere.invalid",
    }

    def compose(*arguments: str) -> None:
        argv = [DOCKER, "compose", "--file", "docker-compose.yml", "--env-file", os.devnull, *arguments]
        done = subprocess.run(
            argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr

    try:
        compose("up", "--detach", "--wait", "--no-deps", "gateway")
        (container,) = containers_of(project, "gateway")
        authority = docker("exec", container, "cat", CA)
        yield Door(f"http://localhost:{plain}", f"https://localhost:{safe}", authority)
    finally:
        compose("down", "--volumes")


def test_with_a_domain_the_gateway_answers_https_with_a_certificate_for_it(door: Door) -> None:
    trusting = ssl.create_default_context(cadata=door.authority)
    with httpx.Client(verify=trusting, trust_env=False) as client:
        page = client.get(f"{door.https}/docs")
        other = client.get(f"{door.https}/internal/v1/invariants")

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert other.status_code == 404


def test_with_a_domain_http_answers_nothing_but_where_https_is(door: Door) -> None:
    with httpx.Client(trust_env=False) as client:
        answer = client.post(f"{door.http}/api/v1/user/1?a=b")

    assert (answer.status_code, answer.headers["location"]) == (308, "https://localhost/api/v1/user/1?a=b")
