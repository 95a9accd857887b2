"""Crash points: named places between two commits, or between a commit and a call, where a test ends the process.

Without the setting `CRASH_POINT_FILE`, which exists for tests alone, a point does nothing. With it, a point ends
the process, as kill -9 would, when that file holds `<service> <point>`; the file is removed first, so that the
process which is started next goes on.
"""

import os
from pathlib import Path

CRASHED = 86
"""The exit code of a process that ended at a crash point."""

_armed: tuple[str, Path] | None = None


def arm(service: str, file: Path | None) -> None:
    """Let tests end this process through `file`; None, as always outside of tests, arms nothing."""
    global _armed
    _armed = None if file is None else (service, file)


def crash_point(name: str) -> None:
    """End the process here when a test asks for it; the name is unique in its package."""
    if _armed is not None and _claims(*_armed, name):
        os._exit(CRASHED)


def _claims(service: str, file: Path, name: str) -> bool:
    try:
        if file.read_text() != f"{service} {name}":
            return False
        file.unlink()
    except FileNotFoundError:  # nothing is asked for, or another process was faster
        return False
    return True
