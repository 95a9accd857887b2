"""The crash points, read from the sources, and the file that arms one (`common.crash`)."""

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from garant_local.secrets import SERVICES
from garant_local.settings import ROOT

COMMON = ROOT / "libs" / "common" / "src" / "common"
CALLED_BY_ITS_USERS = {"outbox": "Relay", "bus": "consume"}
"""What a service calls when it runs the points of a module of libs/common; of the others an import is enough."""


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A crash point of one service."""

    service: str
    name: str

    def __str__(self) -> str:
        return f"{self.service} {self.name}"


def crash_points() -> list[Point]:
    """Return every point there is; those of libs/common once for each service that uses them."""
    found = {Point(s, name) for s in SERVICES for path in _sources(s) for name in _names(path)}
    for path in COMMON.glob("**/*.py"):
        for name in _names(path):
            found |= {Point(s, name) for s in SERVICES if _uses(s, path.stem)}
    return sorted(found)


def _sources(service: str) -> Iterator[Path]:
    return (ROOT / "services" / service / "src").glob("**/*.py")


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name, node


def _names(path: Path) -> set[str]:
    """Return the text constants that calls of `crash_point` hold."""
    calls = (call for name, call in _calls(ast.parse(path.read_text())) if name == "crash_point")
    parts = (part for call in calls for argument in call.args for part in ast.walk(argument))
    return {p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)}


def _uses(service: str, module: str) -> bool:
    trees = [ast.parse(path.read_text()) for path in _sources(service)]
    if module in CALLED_BY_ITS_USERS:
        return any(name == CALLED_BY_ITS_USERS[module] for tree in trees for name, _ in _calls(tree))
    return any(_imports(tree, module) for tree in trees)


def _imports(tree: ast.AST, module: str) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            if f"common.{module}" in names:
                return True
    return False


@dataclass(frozen=True, slots=True)
class CrashFile:
    """The file that the services look into."""

    path: Path

    def arm(self, point: Point) -> None:
        """Let the process that comes to this point first end there."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(str(point))
        os.replace(fresh, self.path)

    @property
    def claimed(self) -> bool:
        """Tell whether a process ended at the point that was armed last."""
        return not self.path.exists()

    def disarm(self) -> None:
        """Let nobody end."""
        self.path.unlink(missing_ok=True)
