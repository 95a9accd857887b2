"""Packages with gateways, made for a test outside of the tree."""

import re
import tomllib
from pathlib import Path

from garant_local.settings import ROOT

PAGE = ROOT / "docs/gateways.md"


def install(folder: Path, name: str, module: str, points: dict[str, str]) -> None:
    """Put an installed package into a folder: a module and what an installer notes of it."""
    (folder / f"{name}.py").write_text(module)
    info = folder / f"{name}-1.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
    lines = ["[garant.gateways]", *(f"{point} = {value}" for point, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def install_example(folder: Path) -> None:
    """Install the example of docs/gateways.md, as the page has it."""
    blocks = dict(re.findall(r"`([a-z_.]+)`:\n\n```[a-z]+\n(.*?)```", PAGE.read_text(), re.DOTALL))
    points = tomllib.loads(blocks["pyproject.toml"])["project"]["entry-points"]["garant.gateways"]
    install(folder, "garant_fusd", blocks["garant_fusd.py"], points)
