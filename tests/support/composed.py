"""The whole system from its images, through testcontainers: docker-compose.yml with the profile `sandbox`."""

import contextlib
import os
import secrets as random_secrets
import subprocess
from collections.abc import Iterator, Sequence
from unittest.mock import patch

from testcontainers.compose import DockerCompose

from garant_local.compose import compose_environment, prepare, tell_clients
from garant_local.demo import read_run_env
from garant_local.settings import PORTS, ROOT, prepare_data, read_settings
from support.servers import temporary_folder
from support.system import System, environment_for

FILES = ("docker-compose.yml", "deploy/compose.sandbox.yml")
SCALED = (*FILES, "deploy/compose.scale.yml")


@contextlib.contextmanager
def composed_system(files: Sequence[str] = FILES) -> Iterator[System]:
    """Start everything on free ports, under a project of its own, and remove it in the end with its data."""
    project = f"garant-test-{random_secrets.token_hex(4)}"
    with temporary_folder() as folder:
        settings = read_settings(environment_for(folder / "data"))
        prepare_data(settings)
        secrets = prepare(settings)
        told = compose_environment(settings) | {"COMPOSE_PROJECT_NAME": project}
        with patch.dict(os.environ, told):
            composition = DockerCompose(
                ROOT,
                compose_file_name=list(files),
                env_file=str(ROOT / "deploy" / "sandbox.env"),
                profiles=["sandbox"],
            )
            try:
                composition.start()
                tell_clients(settings, secrets)
                ports = {variable: str(settings.ports[process]) for process, (variable, _) in PORTS.items()}
                yield System(ports | read_run_env(settings.run_env), settings.data, None, project)
            except subprocess.CalledProcessError as error:
                raise RuntimeError(f"{error}\n{error.stderr}\n{_last_words(composition)}") from error
            finally:
                composition.stop()


def roll(
    system: System, service: str, files: Sequence[str] = FILES, images: str = "garant-"
) -> "subprocess.CompletedProcess[str]":
    """Replace each container of a service, as an operator does, by one of the images with this prefix."""
    ports = {variable: system.environment[variable] for variable, _ in PORTS.values()}
    environment = {
        **os.environ,
        **ports,
        "GATEWAY_PUBLISH": f"127.0.0.1:{ports['GATEWAY_PORT']}",
        "GARANT_SECRETS": str(system.data / "compose"),
        "IMAGES": images,
        "COMPOSE_PROJECT_NAME": str(system.project),
        "COMPOSE_FILE": ":".join(files),
        "COMPOSE_ENV_FILES": "deploy/sandbox.env",
        "COMPOSE_PROFILES": "sandbox",
    }
    return subprocess.run(
        [ROOT / "deploy" / "roll", service],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def _last_words(composition: DockerCompose) -> str:
    out, err = composition.get_logs()
    return f"{out}{err}"[-5000:]
