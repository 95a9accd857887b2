"""The journal: one line of JSON a block or fork, appended and flushed: kill -9 loses the last at most."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """An append-only file; a torn last line is cut off when it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._cut_torn_line()
        self._file = path.open("a", encoding="ascii")

    def _cut_torn_line(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self._path.open("r+b") as file:
                file.truncate(whole)

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the entries."""
        with self._path.open(encoding="ascii") as file:
            for line in file:
                yield json.loads(line)

    def write(self, entry: dict[str, Any]) -> None:
        """Append an entry; it is with the operating system when this returns."""
        self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
