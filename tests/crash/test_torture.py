"""A short torture, that its plan follows from the seed alone, and that it sees an alarm which is over at its end."""

import asyncio
import os
import secrets
import shutil

import asyncpg
import pytest

from support.client import client_of
from support.system import running_system
from torture.alarms import Alarms, read_log, read_metrics
from torture.plan import VICTIMS, plan
from torture.run import new_folder, torture


def test_a_plan_follows_from_its_seed_and_spares_nobody() -> None:
    assert plan(7, 600) == plan(7, 600)
    assert plan(7, 600) != plan(8, 600)
    assert plan(7, 600)[:20] == plan(7, 300)[:20]
    assert {blow.victim for blow in plan(7, 600)} == set(VICTIMS)


def test_metrics_tell_what_is_violated_and_when_that_was_proven() -> None:
    text = (
        "# TYPE garant_invariant_violations gauge\n"
        'garant_invariant_violations{invariant="balance_is_last"} 0.0\n'
        'garant_invariant_violations{invariant="wallet_unlike_chain"} 2.0\n'
        "# TYPE garant_invariants_checked_timestamp_seconds gauge\n"
        "garant_invariants_checked_timestamp_seconds 17.5\n"
    )
    assert read_metrics(text) == ({"wallet_unlike_chain"}, 17.5)
    assert read_metrics("") == (set(), 0.0)


def test_alarms_are_read_from_the_console_each_once() -> None:
    lines = [
        "19:00:01 payments | timestamp=2026-01-01 level=error event=invariant.violated invariant=x item=\"{'a': 1}\"\n",
        "19:00:02 payments | timestamp=2026-01-02 level=error event=invariant.violated invariant=x item=\"{'a': 1}\"\n",
        "19:00:03 deals    | timestamp=2026-01-01 level=error event=events.gap missing=2\n",
        "19:00:04 accounts | timestamp=2026-01-01 level=warning event=invariants.not_checked error=away\n",
    ]
    assert read_log(lines) == ["payments: invariant.violated invariant=x item=\"{'a': 1}\""]


@pytest.mark.deep
@pytest.mark.timeout(240)
async def test_an_alarm_that_is_over_at_the_end_is_named() -> None:
    folder = new_folder()
    with running_system({"INVARIANTS_INTERVAL_S": "1"}, keep_in=folder) as system:
        async with client_of(system, 60) as client:
            alarms = Alarms(client)
            assert len(alarms.wrong([])) == 4, "four services that never proved themselves"
            watching = asyncio.create_task(alarms.watch())
            connection = await asyncpg.connect(system.environment["PAYMENTS_DATABASE_URL"])
            await connection.execute(
                "INSERT INTO booking (key, kind, tenant_id, currency, giver, taker, amount, created_at, applied_at)"
                " VALUES ('tron:00:fee', 'fee', 0, 'TRX', 'fees', 'external:tron_trx', 1, now(), now())"
            )

            async def raised() -> set[str]:
                return alarms.raised

            await client.until("the alarm", raised, bool)
            await connection.execute("DELETE FROM booking WHERE key = 'tron:00:fee'")
            await connection.close()
            watching.cancel()
            assert alarms.raised == {"payments: applied_not_booked"}
            with (folder / "console.log").open() as console:
                wrong = alarms.wrong(console)
    assert len(wrong) == 2, wrong
    assert wrong[0] == "alarm on the way, payments: applied_not_booked"
    assert wrong[1].startswith("alarm on the way, logged by payments: invariant.violated")
    assert "tron:00:fee" in wrong[1]
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_a_short_torture_finds_money_never_wrong() -> None:
    folder = new_folder()
    report = torture(int(os.environ.get("GARANT_SEED") or secrets.randbelow(10**6)), 20, 4, folder)
    assert report.wrong == [], f"the data folder is kept: {folder}"
    shutil.rmtree(folder, ignore_errors=True)
