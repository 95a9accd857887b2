"""How a process ends: within its time, whatever hangs."""

import re
import resource
import signal
import subprocess
import sys

import pytest

from chat.main import CLOSE_S as CHAT_CLOSE_S
from common import bus, db
from common.runner import ENDS_WITHIN_S, EXIT_LATE
from common.settings import ProcessSettings
from garant_local.settings import ROOT

HANGS = """
import asyncio, os, signal
from common import runner

async def run():
    await runner.run_until_signal(serving, [])
    {after}

async def serving(stop):
    os.kill(os.getpid(), signal.{signal})
    await stop.wait()
    {draining}

runner.ENDS_WITHIN_S = {within_s}
asyncio.run(run())
"""
FOR_EVER = "await asyncio.Event().wait()"


def ended(number: signal.Signals, within_s: float, draining: str = "pass", after: str = "pass") -> tuple[int, str]:
    """Return how a process ends that is told to, and what it says."""
    script = HANGS.format(signal=number.name, draining=draining, after=after, within_s=within_s)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


PREPARED = """
import resource
from common import runner
from common.settings import ProcessSettings

runner.prepare("test", ProcessSettings(service_callers={}))
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_process_takes_the_descriptors_that_the_system_allows() -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1000))

    done = subprocess.run(
        [sys.executable, "-c", PREPARED], preexec_fn=few, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.split() == ["1000", "1000"], done.stderr


@pytest.mark.parametrize("hanging", [{"draining": FOR_EVER}, {"after": FOR_EVER}])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_hangs_while_it_ends_is_gone_in_time_and_says_so(
    number: signal.Signals, hanging: dict[str, str]
) -> None:
    code, told = ended(number, 0.2, **hanging)

    assert code == EXIT_LATE
    assert "service.ended_late" in told


def test_a_process_that_is_told_to_end_ends_well() -> None:
    assert ended(signal.SIGTERM, 20) == (0, "")


def test_all_that_an_end_may_take_fits_before_the_engine_kills() -> None:
    field = ProcessSettings.model_fields["drain_s"]
    least, most = (next(getattr(m, word) for m in field.metadata if hasattr(m, word)) for word in ("ge", "le"))
    consumers_s, brokers_s = bus.ON_ITS_WAY_S + bus.FINISH_S, 2 * bus.CLOSE_S
    graces = re.findall(r"stop_grace_period: (\d+)s", (ROOT / "docker-compose.yml").read_text())

    assert field.default == most
    assert least - 2 * CHAT_CLOSE_S > 0
    assert most + consumers_s + brokers_s + db.CLOSE_S <= ENDS_WITHIN_S - 0.5
    assert min(int(grace) for grace in graces) - ENDS_WITHIN_S >= 2
