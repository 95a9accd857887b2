"""What is in the images, how they end, and what docker-compose.yml says of a setting that is missing."""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from garant_local.compose import DOCKER, compose_environment
from garant_local.secret_files import write_secret_files
from garant_local.settings import ROOT, read_settings
from support.composed import composed_system, roll
from support.system import System, containers_of, docker

IMAGES = ("accounts", "deals", "payments", "chat", "sandbox")
PROCESSES = (*(f"{name}-{mode}" for name in IMAGES[:4] for mode in ("api", "worker")), "signer", "tron")
STOPS_WITHIN_S = 20

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def composed() -> Iterator[System]:
    with composed_system() as found:
        yield found


def inside(image: str, script: str) -> str:
    """Run a script in an image, as its user, on a file system that is only read."""
    return docker(
        "run", "--rm", "--read-only", "--entrypoint", "sh", f"garant-{image}:latest", "-c", script
    ).strip()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_holds_no_compiler_and_no_tests_and_is_nobody_special(image: str) -> None:
    assert inside(image, "id -u") == "10001"
    assert inside(image, "command -v gcc cc make g++ || true") == ""
    assert (
        inside(image, "find /app /source -name 'tests' -o -name 'test_*' -o -name conftest.py 2>/dev/null || true")
        == ""
    )
    assert inside(image, "python -c 'import pytest' 2>&1 || true").endswith("No module named 'pytest'")
    assert inside(image, "touch /app/x /venv/x 2>&1 || true").count("Read-only file system") == 2
    entry = docker("image", "inspect", "--format", "{{.Config.Healthcheck.Test}}", f"garant-{image}:latest")
    assert "healthcheck.py" in entry


@pytest.mark.parametrize("image", IMAGES[:4])
def test_each_image_has_the_migrations_and_the_code_of_its_own_service_alone(image: str) -> None:
    others = [name for name in IMAGES[:4] if name != image]
    found = inside(image, "ls /app/src; ls /app/migrations").split()

    assert {image, "common", "env.py", "versions"} <= set(found)
    assert not {*others, "tron_sandbox", "garant_local"} & set(found)


def test_every_process_runs_without_rights_and_only_the_gateway_is_published_for_others(composed: System) -> None:
    for service in PROCESSES:
        (container,) = containers_of(str(composed.project), service)
        form = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}"
        read_only, dropped, memory, policy = docker("inspect", "--format", form, container).split()
        assert (read_only, dropped, policy) == ("true", "[ALL]", "unless-stopped"), service
        assert int(memory) > 0
        told = docker("inspect", "--format", "{{.Config.Env}}", container)
        hidden = [v for v in composed.secrets.values() if isinstance(v, str)]
        assert not [secret for secret in hidden if secret in told], service


def test_the_job_that_makes_the_sandbox_seed_logs_no_words_of_it(composed: System) -> None:
    (container,) = containers_of(str(composed.project), "sandbox-seed")
    told = docker("logs", container)

    assert "main_wallet" in told
    assert "mnemonic" not in told


@pytest.fixture
def sick_images() -> Iterator[str]:
    """Yield the prefix of images whose accounts never becomes healthy."""
    prefix = f"garant-sick-{secrets.token_hex(4)}-"
    check = 'HEALTHCHECK --interval=1s --timeout=1s --retries=2 --start-period=1s CMD ["false"]'
    subprocess.run(
        [DOCKER, "build", "--quiet", "--tag", f"{prefix}accounts:latest", "-"],
        input=f"FROM garant-accounts:latest\n{check}\n",
        text=True, timeout=60, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    yield prefix
    docker("rmi", "--force", f"{prefix}accounts:latest")


def test_a_new_container_that_is_not_healthy_is_removed_and_the_old_one_goes_on(
    composed: System, sick_images: str
) -> None:
    old = containers_of(str(composed.project), "accounts-worker")
    refused = roll(composed, "accounts-worker", images=sick_images)
    assert refused.returncode == 1
    assert "the new container of accounts-worker is not healthy" in refused.stderr
    assert containers_of(str(composed.project), "accounts-worker") == old

    done = roll(composed, "accounts-worker")
    assert done.returncode == 0, done.stderr
    (new,) = containers_of(str(composed.project), "accounts-worker")
    assert new not in old


def test_every_process_ends_by_itself_within_the_time_that_docker_waits(composed: System) -> None:
    slow = {}
    for service in PROCESSES:
        (container,) = containers_of(str(composed.project), service)
        begun = time.monotonic()
        docker("stop", "--time", str(STOPS_WITHIN_S), container)
        slow[service] = time.monotonic() - begun
        ended = docker("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", container).split()
        usual = "143" if service == "tron" else "0"  # uvicorn hands the signal on once it has drained
        assert ended == [usual, "false"], service
    assert max(slow.values()) < STOPS_WITHIN_S, slow


def compose_config(tmp_path: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(Path.home()),
        "GARANT_SECRETS": str(tmp_path),
        **settings,
    }
    argv = [DOCKER, "compose", "--file", "docker-compose.yml", "--env-file", os.devnull, "config"]
    return subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_without_the_sandbox_a_missing_setting_is_named_and_nothing_of_it_is_there(tmp_path: Path) -> None:
    write_secret_files(tmp_path)
    missing = compose_config(tmp_path)
    assert missing.returncode != 0
    assert "TRON_NODE_URLS" in missing.stderr

    whole = compose_config(tmp_path, TRON_NODE_URLS="https://node.example")
    assert whole.returncode == 0, whole.stderr
    assert "\n  tron:" not in whole.stdout
    assert "\n  sandbox-seed:" not in whole.stdout
    published = [line.strip() for line in whole.stdout.splitlines() if "published:" in line]
    assert published == ['published: "8000"', 'published: "8443"']


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    write_secret_files(tmp_path)
    (tmp_path / "seed_key").unlink()
    settings = read_settings({"GARANT_DATA": str(tmp_path)})
    environment = {
        **os.environ, **compose_environment(settings), "GARANT_SECRETS": str(tmp_path),
        "COMPOSE_PROJECT_NAME": "garant-test-secret",
    }  # fmt: skip
    argv = [DOCKER, "compose", "--env-file", "deploy/sandbox.env"]
    try:
        done = subprocess.run(
            [*argv, "run", "--rm", "--no-deps", "signer"],
            env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        subprocess.run(
            [*argv, "down", "--volumes"], env=environment, cwd=ROOT, capture_output=True, timeout=120, check=True
        )
    assert done.returncode != 0
    assert "seed_key" in done.stderr
