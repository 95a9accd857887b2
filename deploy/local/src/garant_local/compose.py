"""`make up` and `make down`: docker-compose.yml with the profile `sandbox`, and the same `run.env` for clients."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from garant_local.run import write_run_env
from garant_local.secret_files import write_secret_files
from garant_local.secrets import TENANTS
from garant_local.settings import (
    PORTS,
    ROOT,
    LocalSettings,
    SettingError,
    lock_data,
    prepare_data,
    read_settings,
)
from garant_local.stack import Stack
from garant_local.supervisor import EXIT_BAD_SETTING, StartError

DOCKER = "docker"
LOGS = "docker compose --env-file deploy/sandbox.env logs"
READY_WITHIN_S = 300
STOP_WITHIN_S = 120


def up() -> int:
    """Start everything from the images, wait until it is healthy, and write run.env; return the exit code."""
    return _run(_up)


def down() -> int:
    """Stop everything, keep the data, and return the exit code."""
    return _run(_down)


def _run(step: Callable[[LocalSettings], None]) -> int:
    try:
        settings = read_settings(os.environ)
        prepare_data(settings)
        with lock_data(settings):
            check_engine()
            step(settings)
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_SETTING
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def check_engine() -> None:
    """Make sure that there is a container engine.

    Raises:
        StartError: when none answers.
    """
    try:
        found = subprocess.run([DOCKER, "info"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        found = False
    if not found:
        raise StartError("no container engine answers (`docker info`); start one, or use `make run`")


def _down(settings: LocalSettings) -> None:
    settings.run_env.unlink(missing_ok=True)
    if compose(settings, "down", "--remove-orphans", within_s=STOP_WITHIN_S) != 0:
        raise StartError("docker compose could not stop everything")


def compose_environment(settings: LocalSettings) -> dict[str, str]:
    """Return what docker-compose.yml is told beside deploy/sandbox.env."""
    return {
        **{variable: str(settings.ports[process]) for process, (variable, _) in PORTS.items()},
        "GATEWAY_PUBLISH": f"127.0.0.1:{settings.ports['gateway']}",
        "GATEWAY_PUBLISH_HTTPS": "127.0.0.1:0",
        "GARANT_SECRETS": str(_secrets(settings)),
    }


def compose(settings: LocalSettings, *arguments: str, within_s: float) -> int:
    """Run `docker compose` with the sandbox's settings and return its exit code.

    Raises:
        StartError: when it takes longer than `within_s`.
    """
    argv = [DOCKER, "compose", "--env-file", str(ROOT / "deploy" / "sandbox.env"), *arguments]
    environment = {**os.environ, **compose_environment(settings)}
    try:
        return subprocess.run(argv, cwd=ROOT, env=environment, timeout=within_s, check=False).returncode
    except subprocess.TimeoutExpired as error:
        raise StartError(f"docker compose {arguments[0]} takes longer than {within_s:.0f} s") from error


def _secrets(settings: LocalSettings) -> Path:
    return settings.data / "compose"


def _up(settings: LocalSettings) -> None:
    started = time.monotonic()
    secrets = prepare(settings)
    if compose(settings, "up", "--detach", "--wait", "--no-build", within_s=READY_WITHIN_S) != 0:
        raise StartError(f"docker compose could not bring everything up; `{LOGS}` has the reasons")
    ready_s = time.monotonic() - started
    tell_clients(settings, secrets)
    print(f"everything is healthy after {ready_s:.1f} s; {settings.run_env} says where it is", flush=True)


def prepare(settings: LocalSettings) -> dict[str, Any]:
    """Write the secrets of the sandbox, made the first time, and return them."""
    return write_secret_files(_secrets(settings), TENANTS)


def tell_clients(settings: LocalSettings, secrets: dict[str, Any]) -> None:
    """Fund the wallets of a system that is up, and write its run.env."""
    stack = Stack.elsewhere(LocalSettings(settings.ports, _secrets(settings)), secrets)
    asyncio.run(stack.create_wallets())
    write_run_env(settings, stack.run_env())
