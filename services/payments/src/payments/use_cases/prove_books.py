"""Our deposits and bookings against the ledger, both ways, without reading again what agreed before.

A pass reads what is new on either side, what was wrong the last time, and a page of what was proven before, which
goes around. Nothing on its way is taken for lost: a row is stored before it is posted, and posted before it is
noted as applied. `reconcile` compares all of it at once.
"""

from collections.abc import Sequence
from typing import Any

from payments.db import books, proofs
from payments.domain.model import Credited
from payments.use_cases.context import Payments

PAGE = 500
"""How many rows are compared at a time, as many as accounts tells at once."""
MOST_PAGES = 20
"""New rows of one pass; after an upgrade several passes prove the history."""
LEDGER, LEDGER_TURN = "ledger", "ledger turn"
KINDS = ("deposit", "booking")

Item = dict[str, str]
Found = list[Any]


async def not_stored(parts: Payments) -> Found:
    """Return what the ledger has from outside and no row of ours explains, or explains with another amount."""
    async with parts.database.transaction() as connection:
        began = await proofs.now(connection)
        first = await proofs.mark(connection, LEDGER, "0")
        turn = await proofs.mark(connection, LEDGER_TURN, "0")
        suspects = await proofs.suspects(connection, LEDGER, PAGE)
    looked = await _look_again(parts, suspects)
    seen = int(first)
    for _ in range(MOST_PAGES):
        page = await parts.accounts.credited(seen)
        if not page:
            break
        looked |= await _look(parts, page)
        seen = page[-1].place
    old = await parts.accounts.credited(int(turn))
    if len(old) < PAGE:  # the end: around again
        looked |= await _look(parts, old)
        old = await parts.accounts.credited(0)
    looked |= await _look(parts, old)
    wrong = {key: item for key, item in looked.items() if item}
    async with parts.database.transaction() as connection:
        await proofs.suspect(connection, LEDGER, wrong, looked.keys() - wrong.keys())
        await proofs.trail(connection, LEDGER, (first, str(seen)), began)
        await proofs.set_mark(connection, LEDGER_TURN, str(old[-1].place if old else 0))
    return list(wrong.values())


async def _look(parts: Payments, page: Sequence[Credited]) -> dict[str, Item | None]:
    """Return, by key, how we differ from operations of the ledger; None where we do not."""
    return await _compare(parts, {one.key: one.amount for one in page})


async def _look_again(parts: Payments, keys: Sequence[str]) -> dict[str, Item | None]:
    """The same for what was wrong; what the ledger does not have any more needs no explanation."""
    booked = await parts.accounts.booked(keys) if keys else {}
    return dict.fromkeys(keys) | await _compare(parts, booked)


async def _compare(parts: Payments, booked: dict[str, int]) -> dict[str, Item | None]:
    async with parts.database.transaction() as connection:
        ours = await books.stored(connection, list(booked))
    return {key: None if ours.get(key) == units else _item(key, units, ours) for key, units in booked.items()}


def _item(key: str, booked: int, stored: dict[str, int]) -> Item:
    return {"key": key, "booked_units": str(booked), "stored_units": str(stored.get(key, 0))}


async def not_booked(parts: Payments) -> Found:
    """Return what we noted as applied and the ledger does not have, or has with another amount."""
    wrong: dict[str, Item] = {}
    for kind in KINDS:
        wrong |= await _unproven(parts, kind)
        wrong |= await _turn(parts, kind)
    return list(wrong.values())


async def _unproven(parts: Payments, kind: str) -> dict[str, Item]:
    """Compare what was applied since the last pass, and what was wrong then."""
    after, wrong = "", dict[str, Item]()
    for _ in range(MOST_PAGES):
        page = await _page(parts, kind, after, unproven=True)
        wrong |= await _prove(parts, kind, page)
        if len(page) < PAGE:
            break
        after = list(page)[-1]
    return wrong


async def _turn(parts: Payments, kind: str) -> dict[str, Item]:
    """Compare a page of what was proven before, as somebody may have changed it since."""
    async with parts.database.transaction() as connection:
        turn = await proofs.mark(connection, f"{kind} turn", "")
    page = await _page(parts, kind, turn, unproven=False)
    wrong = await _prove(parts, kind, page)
    if len(page) < PAGE:  # the end: around again
        page = await _page(parts, kind, "", unproven=False)
        wrong |= await _prove(parts, kind, page)
    async with parts.database.transaction() as connection:
        await proofs.set_mark(connection, f"{kind} turn", list(page)[-1] if page else "")
    return wrong


async def _page(parts: Payments, kind: str, after: str, *, unproven: bool) -> dict[str, int]:
    async with parts.database.transaction() as connection:
        return await books.applied(connection, kind, after, PAGE, unproven=unproven)


async def _prove(parts: Payments, kind: str, page: dict[str, int]) -> dict[str, Item]:
    """Note which rows of a page the ledger has; return the others."""
    if not page:
        return {}
    booked = await parts.accounts.booked(list(page))
    wrong = {key: _item(key, booked.get(key, 0), page) for key, units in page.items() if booked.get(key) != units}
    async with parts.database.transaction() as connection:
        await books.set_proven(connection, kind, page.keys() - wrong.keys(), proven=True)
        await books.set_proven(connection, kind, wrong.keys(), proven=False)
    return wrong
