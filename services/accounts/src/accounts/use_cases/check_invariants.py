"""Prove the ledger against itself."""

from typing import Any

from accounts.db import invariants
from common.db import Database


async def check_invariants(database: Database) -> dict[str, Any]:
    """Return the violations found in one snapshot, and the external totals per kind."""
    async with database.snapshot() as connection:
        found = await invariants.check(connection)
        totals = await invariants.external_totals(connection)
    return {"ok": not any(found.values()), "violations": found, "external_totals": totals}
