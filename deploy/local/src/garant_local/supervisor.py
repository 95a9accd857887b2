"""Starts processes, watches them, tells their lines, and ends them all.

honcho prints the lines (prefix, colour, width); what it has not is here: waiting until a process is ready,
starting one again with a growing pause, and a log file for each (ADR 0005).
"""

import asyncio
import collections
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from honcho import colour
from honcho.printer import Message, Printer

from garant_local.settings import SettingError

START_TIMEOUT_S = 60.0
STARTS_BEFORE_READY = 3
STOP_TIMEOUT_S = 6.0
STEADY_S = 5.0
"""A process that lived this long was well: when it dies, it is started again at once."""
PAUSE_S = 0.5
MAX_PAUSE_S = 5.0
LOG_LIMIT_BYTES = 20_000_000
TAIL_LINES = 12
EXIT_BAD_SETTING = 2
_PR_SET_PDEATHSIG = 1


class StartError(Exception):
    """A process could not be started; the text says which and shows the end of its log."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A process: what to run, how to tell that it is ready, and how to end it."""

    name: str
    argv: list[str]
    ready: Callable[[], Awaitable[bool]]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_order: int = 0
    """Those with the lowest number are stopped first."""


class Console:
    """Prints lines with the process's name, in its colour."""

    def __init__(self, width: int) -> None:
        self._printer = Printer(output=sys.stdout, width=width)
        self._colours = colour.get_colours()
        self._by_name: dict[str, str] = {}

    def line(self, name: str, text: str) -> None:
        """Print a line of a process."""
        if name not in self._by_name:
            self._by_name[name] = next(self._colours)
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._printer.write(Message("line", text, datetime.now(), name, self._by_name[name]))  # noqa: DTZ005 -- a person reads the wall clock


def _die_with_parent(number: int) -> None:
    """Ask Linux to send this signal when our parent dies, so that kill -9 leaves nothing running."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


class Process:
    """One supervised process."""

    def __init__(self, spec: Spec, log: Path, console: Console) -> None:
        self.spec = spec
        self.log = log
        self.starts = 0
        self._console = console
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._child: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process."""
        self.starts += 1
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self._child = await asyncio.create_subprocess_exec(
            *self.spec.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self.spec.environment},
            cwd="/" if self.spec.user else None,
            user=self.spec.user,
            start_new_session=True,
            preexec_fn=lambda: _die_with_parent(self.spec.stop_signal),
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read(self._child))

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        with self.log.open("a", encoding="utf-8") as file:
            while True:
                try:
                    line = await child.stdout.readline()
                except ValueError:  # a line longer than the limit
                    continue
                if not line:
                    return
                text = line.decode("utf-8", "replace").rstrip("\n")
                self._tail.append(text)
                file.write(text + "\n")
                file.flush()
                self._console.line(self.spec.name, text)

    async def ended(self) -> int:
        """Wait until the process has ended and its lines are read; return its exit code."""
        assert self._child is not None
        assert self._reader is not None
        code = await self._child.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._reader), 1)
        return code

    async def until_ready(self) -> None:
        """Wait until the process is ready.

        Raises:
            StartError: when it ended or took too long.
            SettingError: when it ended because a setting is wrong.
        """
        assert self._child is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._child.returncode is not None:
                code = await self.ended()
                if code == EXIT_BAD_SETTING and self._tail:
                    raise SettingError(f"{self.spec.name}: {self._tail[-1].removeprefix('error: ')}")
                raise StartError(f"{self.spec.name} ended with exit code {code}\n{self.tail()}")
            if await self.spec.ready():
                return
            await asyncio.sleep(0.1)
        raise StartError(f"{self.spec.name} was not ready in {START_TIMEOUT_S:.0f} s\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of the log."""
        return "\n".join(f"    {line}" for line in self._tail) + f"\n    (all of it: {self.log})"

    async def stop(self) -> None:
        """Ask the process to end; kill it when it does not."""
        child = self._child
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(self.spec.stop_signal)
        try:
            await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self._console.line("garant", f"{self.spec.name} did not stop and is killed")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await self.ended()


class Supervisor:
    """All processes of one run."""

    def __init__(self, logs: Path, console: Console) -> None:
        self._logs = logs
        self._console = console
        self._processes: dict[str, Process] = {}
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self, spec: Spec) -> None:
        """Start a process, wait until it is ready, and start it again whenever it dies.

        Raises:
            StartError: when it did not become ready in a few starts.
            SettingError: when a setting of it is wrong.
        """
        process = Process(spec, self._logs / f"{spec.name}.log", self._console)
        self._processes[spec.name] = process
        started = time.monotonic()
        while True:
            await process.start()
            try:
                await process.until_ready()
                break
            except StartError:
                await process.stop()
                if process.starts >= STARTS_BEFORE_READY:
                    raise
        self._console.line("garant", f"{spec.name} is up ({time.monotonic() - started:.1f} s)")
        self._watchers.append(asyncio.create_task(self._watch(process)))

    async def _watch(self, process: Process) -> None:
        pause_s, name = PAUSE_S, process.spec.name
        while True:
            began = time.monotonic()
            code = await process.ended()
            steady = time.monotonic() - began > STEADY_S
            pause_s = PAUSE_S if steady else min(pause_s * 2, MAX_PAUSE_S)
            self._console.line("garant", f"{name} died (exit code {code}); it is started again in {pause_s:g} s")
            self._console.line("garant", f"the end of its log:\n{process.tail()}")
            await asyncio.sleep(pause_s)
            await process.start()
            with contextlib.suppress(StartError, SettingError):  # the next turn tells why it died
                await process.until_ready()
                self._console.line("garant", f"{name} is up again")

    async def stop(self) -> None:
        """Stop everything, in order."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        by_order: dict[int, list[Process]] = collections.defaultdict(list)
        for process in self._processes.values():
            by_order[process.spec.stop_order].append(process)
        for _, some in sorted(by_order.items()):
            await asyncio.gather(*(process.stop() for process in some))
