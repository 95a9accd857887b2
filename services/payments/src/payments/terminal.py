"""What a command shows: progress on standard error, a table on standard output; colours on a terminal alone."""

import sys
import time
from collections.abc import Sequence

RED, GREEN, RESET = "\033[1;31m", "\033[32m", "\033[0m"
CLEAR = "\033[K"
EVERY_S = {True: 0.1, False: 5.0}
"""How often progress is shown, on a terminal and in a file."""


class Progress:
    """One line that changes on a terminal, and a line now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._next = 0.0
        self._shown = self._last = ""

    def __call__(self, text: str) -> None:
        """Show how far it is."""
        self._last = text
        if time.monotonic() >= self._next and text != self._shown:
            self._show()

    def end(self) -> None:
        """Show what was told last, and end the line."""
        if self._last != self._shown:
            self._show()
        if self._terminal and self._shown:
            print(file=sys.stderr, flush=True)

    def _show(self) -> None:
        self._shown, self._next = self._last, time.monotonic() + EVERY_S[self._terminal]
        if self._terminal:
            print(f"\r{self._last}", end=CLEAR, file=sys.stderr, flush=True)
        else:
            print(self._last, file=sys.stderr, flush=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], right: str = "") -> str:
    """Write a table.

    Args:
        heads: the columns' names.
        rows: the cells; None is a dash.
        right: the columns whose cells end at the right edge, by a letter each: `l` or `r`.
    """
    cells = [["-" if cell is None else str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(len(row[n]) for row in cells) for n in range(len(heads))]
    sides = right.ljust(len(heads), "l")
    lines = [
        "  ".join(c.rjust(w) if s == "r" else c.ljust(w) for c, w, s in zip(row, widths, sides, strict=True))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def verdict(good: bool, text: str) -> None:
    """Say the last word, green or red on a terminal."""
    if sys.stdout.isatty():
        text = f"{GREEN if good else RED}{text}{RESET}"
    print(text)
