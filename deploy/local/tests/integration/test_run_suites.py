"""tests/run_suites.py that is told to end in the middle of a suite."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from garant_local.settings import ROOT
from support.waiting import eventually

RUN = """
import pathlib, run_suites
run_suites.ROOT = pathlib.Path.cwd()
run_suites.SUITES = {"first": ["first", run_suites.BESIDE, "beside"], "second": ["second"]}
run_suites.ENDS_WITHIN_S = float(%r)
run_suites.main()
"""
HELD = """
import os, pathlib, signal, time, pytest

@pytest.fixture(scope="session")
def server():
    here = pathlib.Path(__file__).parent
    if %r:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    (here / "starting").write_text(str(os.getpid()))
    (here / "starting").rename(here / "started")
    yield
    time.sleep(0.5)
    (here / "stopped").touch()

def test_what_takes_long(server):
    time.sleep(60)
"""


@contextmanager
def suites(folder: Path, *, deaf: bool, ends_within_s: float) -> Iterator["subprocess.Popen[str]"]:
    """Yield the run of two suites whose tests take long; those that are deaf heed no SIGINT."""
    for name in ("first", "beside", "second"):
        (folder / name).mkdir()
        (folder / name / f"test_{name}.py").write_text(HELD % deaf)
    with subprocess.Popen(
        [sys.executable, "-c", RUN % ends_within_s],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


async def started(folder: Path) -> list[int]:
    """Return the process of each part of the first suite, once both have begun their tests."""
    marks = [folder / name / "started" for name in ("first", "beside")]

    async def there() -> bool:
        return all(mark.exists() for mark in marks)

    await eventually(there, bool, within_s=30)
    return [int(mark.read_text()) for mark in marks]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_run_that_is_told_to_end_stops_what_its_suites_started(tmp_path: Path, number: int) -> None:
    with suites(tmp_path, deaf=False, ends_within_s=30) as running:
        pids = await started(tmp_path)
        running.send_signal(number)
        out, _ = await asyncio.to_thread(running.communicate, timeout=30)

    assert running.returncode == 128 + number, out
    assert [(tmp_path / name / "stopped").exists() for name in ("first", "beside")] == [True, True]
    assert alive(pids) == []
    assert not (tmp_path / "second" / "started").exists()


async def test_a_suite_that_does_not_end_is_killed(tmp_path: Path) -> None:
    with suites(tmp_path, deaf=True, ends_within_s=0.3) as running:
        pids = await started(tmp_path)
        running.send_signal(signal.SIGTERM)
        await asyncio.to_thread(running.communicate, timeout=30)

    assert running.returncode == 128 + signal.SIGTERM
    assert alive(pids) == []
    assert not (tmp_path / "first" / "stopped").exists()
