"""The whole system, started as a person starts it, on ports and a data folder of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from garant_local.compose import DOCKER
from garant_local.demo import read_run_env
from garant_local.settings import PORTS, ROOT
from support.servers import free_port, temporary_folder

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15
COMMANDS = {
    **{name: f"-m\0{name}\0serve\0" for name in ("accounts", "deals", "payments", "chat")},
    "signer": "-m\0payments\0signer\0",
    "gateway": "/caddy\0run\0",
    "nats": "/nats-server\0",
    "postgres": "/postgres\0-D\0",
    "tron": "-m\0tron_sandbox\0",
}
"""What tells the processes of a run apart."""


@dataclass(frozen=True, slots=True)
class System:
    """A running system: `pid` is the supervisor of `make run`, `project` the one of docker compose."""

    environment: dict[str, str]
    data: Path
    pid: int | None
    project: str | None = None

    def client(self, key: str | None = "API_KEY") -> httpx.AsyncClient:
        """Return a client of the gateway with one of the keys of run.env."""
        headers = {"authorization": f"Bearer {self.environment[key]}"} if key else {}
        return httpx.AsyncClient(base_url=self.environment["GATEWAY_URL"], headers=headers, timeout=30)

    async def call(self, method: str, path: str, body: Any = None, key: str = "API_KEY") -> httpx.Response:
        """Call the public API."""
        async with self.client(key) as client:
            return await client.request(method, f"/api/v1{path}", json=body)

    def process(self, name: str) -> int:
        """Return the process id of a process that runs."""
        found = self.find(name)
        assert found is not None, f"{name} does not run"
        return found

    def find(self, name: str) -> int | None:
        """Return the process id of a process, or None while it is not there."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if COMMANDS[name] in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
        return None

    def url(self, name: str) -> str:
        """Return the URL of a process behind the gateway."""
        return f"http://127.0.0.1:{self.environment[PORTS[name][0]]}"

    @property
    def secrets(self) -> dict[str, Any]:
        """The secrets of the data folder."""
        folder = self.data / "compose" if self.project else self.data
        found: dict[str, Any] = json.loads((folder / "secrets.json").read_text())
        return found

    def payments_command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of payments with the settings that its process has."""
        if self.project is None:
            argv, environment = [sys.executable, "-m", "payments"], read_environment(self.process("payments"))
        else:
            (container, *_) = containers_of(self.project, "payments-worker")
            argv, environment = [DOCKER, "exec", container, "python", "-m", "payments"], dict(os.environ)
        return subprocess.run(
            [*argv, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=ROOT,
        )

    def logs(self) -> str:
        """Return what all processes have logged."""
        if self.project is None:
            return "".join(p.read_text(errors="replace") for p in (self.data / "log").iterdir())
        return "".join(docker("logs", one) for one in containers_of(self.project))


def docker(*arguments: str) -> str:
    """Run a command of the container engine and return its words."""
    done = subprocess.run(
        [DOCKER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}"
    return done.stdout


def containers_of(project: str, service: str | None = None) -> list[str]:
    """Return the ids of a project's containers, those that have ended too; of one service where it is named."""
    filters = [f"label=com.docker.compose.project={project}"]
    if service is not None:
        filters.append(f"label=com.docker.compose.service={service}")
    return docker("ps", "--all", "--quiet", *(part for one in filters for part in ("--filter", one))).split()


def environment_for(data: Path) -> dict[str, str]:
    """Return settings with free ports and this data folder."""
    ports = {variable: str(free_port()) for variable, _ in PORTS.values()}
    return {**os.environ, **ports, "GARANT_DATA": str(data)}


@contextlib.contextmanager
def running_system(more: Mapping[str, str] | None = None, keep_in: Path | None = None) -> Iterator[System]:
    """Start everything, wait for run.env, and end it as Ctrl-C does.

    Args:
        more: settings beside those of every run.
        keep_in: the folder for its data, which is left there; a temporary one where it is not given.
    """
    with (
        contextlib.nullcontext(keep_in) if keep_in else temporary_folder() as folder,
        (folder / "console.log").open("wb") as console,
    ):
        data = folder / "data"
        environment = environment_for(data) | dict(more or {})
        process = subprocess.Popen(
            [sys.executable, "-m", "garant_local", "run"],
            env=environment,
            stdout=console,
            stderr=console,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not (data / "run.env").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / "console.log").read_text()[-5000:])
                time.sleep(0.2)
            ports = {variable: environment[variable] for variable, _ in PORTS.values()}
            yield System(ports | read_run_env(data / "run.env"), data, process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert code == 0, (folder / "console.log").read_text()[-5000:]
        assert not (data / "run.env").exists()


def read_environment(pid: int) -> dict[str, str]:
    """Return the settings that a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


_STOPS: Counter[int] = Counter()
"""How many blocks want each process to sleep."""


@contextlib.contextmanager
def stopped(system: System, name: str) -> Iterator[None]:
    """Let a process sleep until the block ends, unless it dies meanwhile; of several blocks, until the last ends."""
    pid = system.process(name)
    sleeper = os.pidfd_open(pid)
    signal.pidfd_send_signal(sleeper, signal.SIGSTOP)
    _STOPS[pid] += 1
    try:
        yield
    finally:
        _STOPS[pid] -= 1
        if not _STOPS[pid]:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(sleeper, signal.SIGCONT)
        os.close(sleeper)
