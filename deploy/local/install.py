"""Builds the environment with the pinned packages, telling what is installed as it goes.

    python3 install.py VENV LOCK PACKAGE_FOLDER...

Needs nothing but the standard library, and runs before anything is installed.
"""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
STEP = re.compile(r"^(?:Collecting|Downloading|Using cached|Processing) (\S+)")


def main() -> None:
    """Build the environment or end with one line that says what is wrong."""
    venv, lock, packages = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    if sys.version_info[:2] < OLDEST:
        version = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"error: Python 3.11 or newer is needed, this is {version}; set PYTHON=python3.13, say")
    started = time.monotonic()
    total = len(re.findall(r"(?m)^[a-z0-9].*==", lock.read_text()))
    print(f"building {venv} with Python {sys.version.split()[0]}: {total} pinned packages", flush=True)
    make_venv(venv)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    install([*pip, "--require-hashes", "-r", str(lock)], total)
    print("installing Garant's own packages", flush=True)
    editable = [part for package in packages for part in ("-e", f"./{package}")]
    install([*pip, "--no-deps", "--no-build-isolation", "--no-index", *editable], len(packages))
    print(f"installed in {time.monotonic() - started:.0f} s", flush=True)


def make_venv(venv: Path) -> None:
    """Make the virtual environment anew."""
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stdout + done.stderr).strip()
        sys.exit(f"error: {' '.join(command)} failed; is the venv module installed?\n{words[-800:]}")


def install(command: "list[str]", total: int) -> None:
    """Run pip and tell each package by its name; show all of its words when it fails."""
    words: list[str] = []
    seen: set[str] = set()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        tell(child, words, seen, total)
        code = child.wait()
    finally:
        child.kill()
    if code != 0:
        sys.exit("".join(words[-40:]) + "error: pip could not install the packages")
    if sys.stdout.isatty():
        sys.stdout.write("\r\033[K")


def tell(child: "subprocess.Popen[str]", words: "list[str]", seen: "set[str]", total: int) -> None:
    """Read pip's words and tell each package once."""
    assert child.stdout is not None
    for line in child.stdout:
        words.append(line)
        step = STEP.match(line.strip())
        name = re.split(r"[=<>!~;\[]|-\d", step[1].rsplit("/", 1)[-1])[0] if step else ""
        key = name.lower().replace("_", "-")
        if name and key not in seen:
            seen.add(key)
            show(f"[{len(seen):3}/{total}] {name}")
        elif line.startswith(("Installing collected", "Building")):
            show("unpacking")


def show(text: str) -> None:
    """Tell the present step: in place on a terminal, in lines elsewhere."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\033[K  {text}")
    else:
        sys.stdout.write(f"  {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the next call goes on with the installation")
