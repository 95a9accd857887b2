"""Runs the suites one after the other, the long one in two parts at once, and says how long each took.

python tests/run_suites.py          every suite
python tests/run_suites.py --deep   the same, and the tests marked deep
python tests/run_suites.py --containers [--smoke]
                                    what needs a container engine: PostgreSQL and NATS through testcontainers, the
                                    whole system from its images; --smoke is the part that CI has the time for
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

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


def main() -> None:
    """Run all suites; exit code 1 when one of them failed."""
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
    sys.stdout.write("\n" + "\n".join(rows) + "\n")
    sys.exit(1 if failed else 0)


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
        running = [
            subprocess.Popen([sys.executable, "-m", "pytest", "-q", *options, *part], cwd=ROOT, stdout=out)
            for part, out in zip(parts, [None, *shown], strict=True)
        ]
        good = True
        for process, out in zip(running, [None, *shown], strict=True):
            good &= process.wait() == 0
            if out is not None:
                out.seek(0)
                sys.stdout.write(out.read().decode(errors="replace"))
                sys.stdout.flush()
        return good


if __name__ == "__main__":
    main()
