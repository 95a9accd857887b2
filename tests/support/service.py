"""One service as a process of its own; the services that it asks are not there."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from garant_local.secrets import SERVICES
from garant_local.stack import answers
from support.house import CALLERS
from support.servers import Databases, free_port, running
from support.sources import Broker


@contextmanager
def service(
    name: str, mode: str, databases: Databases, nats: Broker, log: Path, **settings: str
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run a mode of a service with these settings beside the usual ones; yield its URL and its process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        f"{name.upper()}_DATABASE_URL": databases.url(name),
        f"{name.upper()}_PORT": str(port),
        "NATS_URL": nats.url,
        "SERVICE_CREDENTIAL": CALLERS[name],
        "SERVICE_CALLERS": json.dumps(CALLERS),
        **{f"{other.upper()}_URL": f"http://127.0.0.1:{free_port()}" for other in SERVICES if other != name},
        **settings,
    }
    argv = [sys.executable, "-m", name, mode]
    with running(argv, answers(f"{url}/readyz"), signal.SIGTERM, log=log, environment=environment) as process:
        yield url, process
