"""The whole system, started as a person starts it, on ports and a data folder of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from garant_local.demo import read_run_env
from garant_local.settings import PORTS, ROOT
from support.servers import free_port, temporary_folder

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15


@dataclass(frozen=True, slots=True)
class System:
    """A running system."""

    environment: dict[str, str]
    data: Path
    pid: int

    def client(self, key: str | None = "API_KEY") -> httpx.AsyncClient:
        """Return a client of the gateway with one of the keys of run.env."""
        headers = {"authorization": f"Bearer {self.environment[key]}"} if key else {}
        return httpx.AsyncClient(base_url=self.environment["GATEWAY_URL"], headers=headers, timeout=30)

    async def call(self, method: str, path: str, body: Any = None, key: str = "API_KEY") -> httpx.Response:
        """Call the public API."""
        async with self.client(key) as client:
            return await client.request(method, f"/api/v1{path}", json=body)

    def process(self, module: str) -> int:
        """Return the process id of a service."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        wanted = f"-m\0{module}\0"
        (pid,) = [p for p in children if wanted in Path(f"/proc/{p}/cmdline").read_text()]
        return int(pid)


def environment_for(data: Path) -> dict[str, str]:
    """Return settings with free ports and this data folder."""
    ports = {variable: str(free_port()) for variable, _ in PORTS.values()}
    return {**os.environ, **ports, "GARANT_DATA": str(data)}


@contextlib.contextmanager
def running_system() -> Iterator[System]:
    """Start everything, wait for run.env, and end it as Ctrl-C does."""
    with temporary_folder() as folder, (folder / "console.log").open("wb") as console:
        data = folder / "data"
        process = subprocess.Popen(
            [sys.executable, "-m", "garant_local", "run"],
            env=environment_for(data),
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
            yield System(read_run_env(data / "run.env"), data, process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert code == 0, (folder / "console.log").read_text()[-5000:]
        assert not (data / "run.env").exists()
