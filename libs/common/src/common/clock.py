"""The clock as a port: rules take `now` as an argument, and only `main` knows the real one."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the present time comes from."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        return datetime.now(UTC)
