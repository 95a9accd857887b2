"""The supervisor, with small processes of the test's own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from garant_local.settings import SettingError
from garant_local.supervisor import Console, Spec, StartError, Supervisor
from support.waiting import eventually

SLEEPER = "import os, sys, time, pathlib; print('hello', flush=True); pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"


class Recorder(Console):
    """Keeps what a person would see."""

    def __init__(self) -> None:
        super().__init__(8)
        self.lines: list[str] = []

    def line(self, name: str, text: str) -> None:
        """Keep a line."""
        self.lines.append(f"{name}: {text}")


@pytest.fixture
def console() -> Recorder:
    return Recorder()


@pytest.fixture
async def supervisor(tmp_path: Path, console: Recorder) -> AsyncIterator[Supervisor]:
    built = Supervisor(tmp_path, console)
    yield built
    await built.stop()


def sleeper(tmp_path: Path, name: str = "sleeper") -> Spec:
    mark = tmp_path / f"{name}.pid"

    async def ready() -> bool:
        return mark.exists() and mark.read_text() != ""

    return Spec(name, [sys.executable, "-c", SLEEPER, str(mark)], ready)


def script(name: str, text: str) -> Spec:
    async def never() -> bool:
        return False

    return Spec(name, [sys.executable, "-c", text], never)


async def test_a_process_that_dies_is_named_with_its_log_and_started_again(
    supervisor: Supervisor, tmp_path: Path, console: Recorder
) -> None:
    await supervisor.start(sleeper(tmp_path))
    mark = tmp_path / "sleeper.pid"
    first = mark.read_text()
    os.kill(int(first), signal.SIGKILL)

    async def again() -> str:
        return mark.read_text()

    await eventually(again, lambda pid: pid not in ("", first))
    told = "\n".join(console.lines)
    assert "sleeper died (exit code -9)" in told
    assert "the end of its log" in told
    assert (tmp_path / "sleeper.log").read_text().startswith("hello\n")


async def test_stopping_leaves_nothing_running(supervisor: Supervisor, tmp_path: Path) -> None:
    for name in ("one", "two"):
        await supervisor.start(sleeper(tmp_path, name))

    await supervisor.stop()

    for name in ("one", "two"):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"{name}.pid").read_text()), 0)


async def test_a_process_that_never_gets_ready_fails_the_start_with_its_words(
    supervisor: Supervisor,
) -> None:
    with pytest.raises(StartError, match=r"broken ended with exit code 1(.|\n)*the reason"):
        await supervisor.start(script("broken", "print('the reason'); raise SystemExit(1)"))


async def test_a_wrong_setting_is_not_tried_again(supervisor: Supervisor, tmp_path: Path) -> None:
    text = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); print('error: the setting X is not set'); raise SystemExit(2)"

    with pytest.raises(SettingError, match="picky: the setting X is not set"):
        await supervisor.start(script("picky", text))

    assert (tmp_path / "starts").read_text() == "x"


async def test_a_child_dies_with_a_killed_supervisor(tmp_path: Path) -> None:
    mark = tmp_path / "sleeper.pid"
    parent = f"""
import asyncio, pathlib, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from garant_local.supervisor import Console, Spec, Supervisor
async def ready(): return pathlib.Path({str(mark)!r}).exists()
async def main():
    spec = Spec("sleeper", [sys.executable, "-c", {SLEEPER!r}, {str(mark)!r}], ready)
    await Supervisor(pathlib.Path({str(tmp_path)!r}), Console(8)).start(spec)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdout=asyncio.subprocess.DEVNULL)

    async def pid() -> str:
        return mark.read_text() if mark.exists() else ""

    child = int(await eventually(pid))
    process.kill()
    await process.wait()

    async def gone() -> bool:
        return not running(child)

    await eventually(gone)


def running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
