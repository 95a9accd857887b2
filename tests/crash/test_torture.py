"""A short torture, and that its plan follows from the seed alone."""

import os
import secrets
import shutil

import pytest

from torture.plan import VICTIMS, plan
from torture.run import new_folder, torture


def test_a_plan_follows_from_its_seed_and_spares_nobody() -> None:
    assert plan(7, 600) == plan(7, 600)
    assert plan(7, 600) != plan(8, 600)
    assert plan(7, 600)[:20] == plan(7, 300)[:20]
    assert {blow.victim for blow in plan(7, 600)} == set(VICTIMS)


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_a_short_torture_finds_money_never_wrong() -> None:
    folder = new_folder()
    report = torture(int(os.environ.get("GARANT_SEED") or secrets.randbelow(10**6)), 20, 4, folder)
    assert report.wrong == [], f"the data folder is kept: {folder}"
    shutil.rmtree(folder, ignore_errors=True)
