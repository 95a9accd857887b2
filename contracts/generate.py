"""Writes contracts/openapi/<service>.json and the page of API documentation from the code.

python contracts/generate.py           write them
python contracts/generate.py --check   exit code 1 when a file differs from what would be written
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from apipage import render

HERE = Path(__file__).parent
PAGE = HERE.parent / "deploy" / "gateway" / "site" / "index.html"
SERVICES = {
    "accounts": "accounts.main",
    "deals": "deals.main",
    "payments": "payments.main",
    "chat": "chat.api.openapi",
}


def openapi(module: str) -> dict[str, Any]:
    """Return a service's OpenAPI description, with the Problem that its errors refer to."""
    from common.web import Problem

    found = importlib.import_module(module)
    # Chat is no FastAPI application and describes itself.
    described: dict[str, Any] = found.describe() if hasattr(found, "describe") else found.build_app({}).openapi()
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path in described["paths"].values():
        for operation in path.values():
            problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
            if "422" in operation["responses"]:
                operation["responses"]["422"]["content"] = problem
    return described


def files() -> dict[Path, str]:
    """Return what each file should hold."""
    found: dict[Path, str] = {}
    described = {name: openapi(module) for name, module in SERVICES.items()}
    for name, api in described.items():
        found[HERE / "openapi" / f"{name}.json"] = json.dumps(api, indent=2, sort_keys=True) + "\n"
    found[PAGE] = render(list(described.values()))
    return found


def main() -> None:
    """Write the files, or check them."""
    stale = []
    for path, text in files().items():
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(text)
    if "--check" in sys.argv and stale:
        sys.exit(f"contracts differ from the code: {', '.join(stale)}; `make contracts` writes them")
    print("contracts:", "written " + ", ".join(stale) if stale else "as the code says")


if __name__ == "__main__":
    main()
