"""The table of what payments costs: each row with what it must reach."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure. `most` or `least` is the aim; a figure without one is told for comparison."""

    name: str
    title: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def reached(self) -> bool:
        """Tell whether the aim is reached."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


def table(figures: list[Figure]) -> str:
    """Write the table."""
    lines = [f"{'':66} {'measured':>12} {'':18} {'aim':>12}"]
    for figure in figures:
        aim = f">= {figure.least:,g}" if figure.least is not None else ""
        aim = f"<= {figure.most:,g}" if figure.most is not None else aim
        word = "" if not aim else "ok" if figure.reached else "BELOW"
        lines.append(f"{figure.title:66} {figure.value:12,.2f} {figure.unit:18} {aim:>12} {word}")
    return "\n".join(lines)
