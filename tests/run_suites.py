"""Runs the suites one after the other, the long one in two parts at once, and says how long each took.

python tests/run_suites.py          every suite
python tests/run_suites.py --deep   the same, and the tests marked deep
python tests/run_suites.py --containers [--smoke]
                                    what needs a container engine: PostgreSQL and NATS through testcontainers, the
                                    whole system from its images; --smoke is the part that CI has the time for

SIGTERM and Ctrl-C end what runs first: its fixtures stop the servers and containers that they have started.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from garant_local.compose import check_engine
from garant_local.supervisor import StartError

ROOT = Path(__file__).parent.parent
BESIDE = "beside"
"""What comes after it is run at the same time as what comes before: nothing there is shared."""
SUITES = {
    "unit": ["libs/*/tests/unit", "services/*/tests/unit", "deploy/local/tests/unit"],
    "contract": ["services/*/tests/contract", "tests/contract"],
    "integration": [
        "libs/*/tests/integration",
        "services/[!p]*/tests/integration",
        "deploy/local/tests/integration",
        BESIDE,
        "services/payments/tests/integration",
    ],
    "races": ["tests/races"],
    "model": ["services/*/tests/model"],
    "e2e": ["tests/e2e"],
    "faults": ["tests/faults"],
    "crash": ["tests/crash"],
}
ON_CONTAINERS = {
    "integration": [
        "libs/common/tests/integration",
        "services/[!p]*/tests/integration",
        BESIDE,
        "services/payments/tests/integration",
    ],
    "e2e": ["tests/e2e"],
    "containers": ["tests/containers"],
    "rolling": ["tests/rolling"],
}
"""The tests that use PostgreSQL, NATS or the whole system."""
SMOKE = {"containers": ["tests/containers"]}
ENDS_WITHIN_S = 180.0
"""How long a suite may take to stop what it started: compose gives PostgreSQL alone a minute."""
LOOK_EVERY_S = 0.2
told: list[int] = []
"""The signals that told us to end."""


def main() -> None:
    """Run all suites; exit code 1 when one of them failed, and 128 more than the signal that ended us."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _note)
    options = [] if "--deep" in sys.argv else ["-m", "not deep"]
    suites = SUITES
    if "--containers" in sys.argv:
        _want_engine()
        options, suites = [*options, "--containers"], SMOKE if "--smoke" in sys.argv else ON_CONTAINERS
    rows, failed = [], False
    for name, patterns in suites.items():
        split = patterns.index(BESIDE) if BESIDE in patterns else len(patterns)
        parts = [found for found in (_folders(patterns[:split]), _folders(patterns[split + 1 :])) if found]
        if not parts:
            continue
        sys.stdout.write(
            f"\n=== {name}: {' '.join(str(Path(f).relative_to(ROOT)) for part in parts for f in part)}\n"
        )
        sys.stdout.flush()
        started = time.monotonic()
        good = _run(parts, options)
        rows.append(f"{name:12} {'ok' if good else 'FAILED':7} {time.monotonic() - started:6.1f} s")
        failed |= not good
        if told:
            break
    sys.stdout.write("\n" + "\n".join(rows) + "\n")
    sys.exit(128 + told[0] if told else int(failed))


def _note(number: int, _: FrameType | None) -> None:
    """Note that we are told to end: an error raised here could lose a process that has just been started."""
    told.append(number)


def _want_engine() -> None:
    """End with one line where there is no container engine."""
    try:
        check_engine()
    except StartError as error:
        sys.exit(f"error: {error}")


def _folders(patterns: Sequence[str]) -> list[str]:
    return sorted(str(p) for pattern in patterns for p in ROOT.glob(pattern) if list(p.glob("test_*.py")))


def _run(parts: Sequence[Sequence[str]], options: Sequence[str]) -> bool:
    """Run the parts of a suite at once; the output of all but the first is shown when it has ended."""
    with contextlib.ExitStack() as stack:
        shown = [stack.enter_context(tempfile.TemporaryFile()) for _ in parts[1:]]
        # Sessions of their own: a terminal's Ctrl-C would reach them, too, and a second one breaks their cleaning up.
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", *options, *part],
                cwd=ROOT,
                stdout=out,
                start_new_session=True,
            )
            for part, out in zip(parts, [None, *shown], strict=True)
        ]
        _until_ended(running)
        for out in shown:
            out.seek(0)
            sys.stdout.write(out.read().decode(errors="replace"))
            sys.stdout.flush()
        return all(process.returncode == 0 for process in running)


def _until_ended(running: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Wait until all have ended; told to end, interrupt them, and kill those that take too long."""
    deadline = None
    while any(process.poll() is None for process in running):
        if told and deadline is None:
            sys.stdout.write(f"\nending: what was started is stopped, within {ENDS_WITHIN_S:.0f} s\n")
            sys.stdout.flush()
            deadline = time.monotonic() + ENDS_WITHIN_S
            for process in running:
                process.send_signal(signal.SIGINT)
        if deadline is not None and time.monotonic() > deadline:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    main()
