"""Runs the suites one after the other and says how long each took.

python tests/run_suites.py          every suite
python tests/run_suites.py --deep   the same, and the tests marked deep
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUITES = {
    "unit": ["libs/*/tests/unit", "services/*/tests/unit", "deploy/local/tests/unit"],
    "contract": ["services/*/tests/contract", "tests/contract"],
    "integration": ["libs/*/tests/integration", "services/*/tests/integration", "deploy/local/tests/integration"],
    "races": ["tests/races"],
    "model": ["services/*/tests/model"],
    "e2e": ["tests/e2e"],
    "faults": ["tests/faults"],
    "crash": ["tests/crash"],
}


def main() -> None:
    """Run all suites; exit code 1 when one of them failed."""
    marker = [] if "--deep" in sys.argv else ["-m", "not deep"]
    rows, failed = [], False
    for name, patterns in SUITES.items():
        folders = sorted(str(p) for pattern in patterns for p in ROOT.glob(pattern) if list(p.glob("test_*.py")))
        if not folders:
            continue
        sys.stdout.write(f"\n=== {name}: {' '.join(str(Path(f).relative_to(ROOT)) for f in folders)}\n")
        sys.stdout.flush()
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", *marker, *folders], cwd=ROOT, check=False)
        rows.append(
            f"{name:12} {'ok' if done.returncode == 0 else 'FAILED':7} {time.monotonic() - started:6.1f} s"
        )
        failed |= done.returncode != 0
    sys.stdout.write("\n" + "\n".join(rows) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
