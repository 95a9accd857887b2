"""How often a node may be called: so many times a second, with a short burst, and so many times a day."""

from collections.abc import Callable
from dataclasses import dataclass

DAY_S = 86_400
BURST_S = 1.0
"""What was not called in the last second may be caught up with at once."""


@dataclass(slots=True)
class CallBudget:
    """A token bucket, kept as the moment at which the next call fits (the generic cell rate algorithm).

    Args:
        per_s: calls per second.
        per_day: calls per UTC day, or None where the provider counts none.
        now: a clock that only goes forward, in seconds.
        today: the number of the present UTC day.
    """

    per_s: float
    per_day: int | None
    now: Callable[[], float]
    today: Callable[[], int]
    _next: float = 0.0
    _day: int = 0
    _used: int = 0

    @property
    def spent(self) -> bool:
        """Tell whether this day's calls are used up."""
        return self.per_day is not None and self._day == self.today() and self._used >= self.per_day

    def wait_s(self) -> float:
        """Return for how long a call would have to wait now."""
        return max(0.0, self._next - self.now())

    def take(self) -> float:
        """Count a call and return for how many seconds it has to wait."""
        if self._day != self.today():
            self._day, self._used = self.today(), 0
        self._used += 1
        wait_s = self.wait_s()
        burst_s = max(0.0, BURST_S - 1 / self.per_s)
        self._next = max(self._next, self.now() - burst_s) + 1 / self.per_s
        return wait_s
