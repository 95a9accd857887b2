"""docs/operations.md and what the code tells."""

import importlib
import pkgutil
import re

from common.metrics import REGISTRY
from garant_local.settings import ROOT

PACKAGES = ("common", "accounts", "deals", "payments", "chat")


def test_every_metric_of_the_code_is_explained() -> None:
    for package in PACKAGES:
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        for module in found:
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    defined = {f.name + ("_total" if f.type == "counter" else "") for f in REGISTRY.collect()}
    text = (ROOT / "docs" / "operations.md").read_text()

    assert len(defined) > 20
    assert sorted(defined - set(re.findall(r"garant_[a-z_]+", text))) == []
