"""Calls inside a call (java-tron's internal transactions)."""

from dataclasses import dataclass


@dataclass(slots=True)
class Internal:
    """A call inside a call, a contract made by one, or one that ends itself; addresses have 20 bytes."""

    caller: bytes
    to: bytes
    sun: int
    note: str
    """`call`, `create` or `suicide`."""
    rejected: bool = False

    @property
    def made(self) -> bool:
        """Tell whether it made a contract."""
        return self.note == "create" and not self.rejected


def reject(record: list[Internal]) -> None:
    """Mark calls whose effects were taken back."""
    for one in record:
        one.rejected = True
