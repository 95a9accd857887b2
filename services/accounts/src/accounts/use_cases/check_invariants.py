"""Prove the ledger against itself, and what it told against what it did."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from accounts.db import invariants, ledger
from common.db import Database
from common.gaps import Followed, compare

TOLD_WITHIN = timedelta(days=1)
"""How far back each fact is looked for in the outbox."""


async def check_invariants(
    database: Database,
    followed: Sequence[Followed] = (),
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, Any]:
    """Return the violations in one snapshot of the whole history, and the external totals per kind.

    Args:
        followed: the producers whose events we handle, whose outbox must agree with our inbox.
        progress: is told each check and how many rows it has looked at.

    Raises:
        Unavailable: when a producer can't be asked.
    """
    found: dict[str, list[Any]] = {"balance_after_runs": [], "balance_is_last": [], "operation_is_whole": []}
    looked: dict[str, int] = dict.fromkeys(found, 0)
    async with database.snapshot() as connection:
        async for piece in invariants.proof(connection):
            looked[piece.check] += piece.rows
            found[piece.check] += piece.violations
            if progress is not None:
                progress(piece.check, looked[piece.check])
        totals = await invariants.external_totals(connection)
        found["fees_above_capital"] = await invariants.house_deficits(connection)
        now = await ledger.now(connection)
        found["change_not_told"] = await invariants.untold(connection, now - TOLD_WITHIN)
    found |= await compare(database, followed)
    named: dict[str, list[Any]] = {name: some[: invariants.NAMED] for name, some in found.items()}
    return {"ok": not any(found.values()), "checked": looked, "violations": named, "external_totals": totals}
