"""The contracts of the events."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

FOLDER = Path(__file__).parents[2] / "contracts" / "events"
EVENTS: dict[str, dict[str, Any]] = {
    path.name.removesuffix(".v1.json"): json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}


def check_event(envelope: dict[str, Any]) -> None:
    """Raise unless the envelope fits the schema of its subject."""
    schema = EVENTS[envelope["type"]]["schema"]
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(envelope)
