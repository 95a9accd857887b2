"""Our deposits against the ledger, our wallets against the chain, and our changes against the outbox.

The ledger's page is read before our rows and our page before the ledger's outcomes, so what is on its way is never
taken for lost: a deposit is stored before it is posted, and posted before it is noted as applied.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from common.gaps import Followed, compare
from payments.db import bookings, books, chain, quarantine, withdrawals
from payments.db.books import WalletBook
from payments.domain.errors import NodeUnavailable
from payments.domain.model import Stored
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments, asset_of

LATE = timedelta(seconds=60)
"""A deposit is credited within seconds; after this it is named."""
NAMED = 20
PAGE = 500
WALLETS_A_PASS = 20
"""The budget of node calls: wallets take turns."""
TOLD_WITHIN = timedelta(days=1)
"""How far back each change is looked for in the outbox."""

Found = list[Any]


async def check_invariants(parts: Payments, followed: Sequence[Followed] = ()) -> dict[str, Any]:
    """Return what does not agree, and the totals per currency.

    Raises:
        Unavailable: when accounts does not answer. A node that does not answer leaves its wallets for later.
    """
    now = parts.clock.now()
    found: dict[str, Found] = {
        "credited_without_deposit": await _not_stored(parts),
        "applied_not_booked": await _not_booked(parts) + await _bookings_not_booked(parts),
        "wallet_unlike_chain": [],
    }
    for gateway in parts.gateways.values():
        found["wallet_unlike_chain"] += await _unlike_chain(parts, gateway)
    async with parts.database.snapshot() as connection:
        late = await chain.not_applied(connection, now - LATE, NAMED)
        found["deposit_not_applied"] = [deposit.key for deposit in late]
        unbooked = await bookings.not_applied(connection, now - LATE, NAMED)
        found["withdrawal_late"] = await withdrawals.late(connection, now - LATE, NAMED)
        found["booking_not_applied"] = [booking.key for booking in unbooked]
        found["change_not_told"] = await books.untold(connection, now - TOLD_WITHIN, NAMED)
        aside = await quarantine.still_open(connection, 0, NAMED)
        found["quarantined"] = [asdict(item) for item in aside]
        found["chain_unlike_cursor"] = await chain.unlike(connection)
        totals = await chain.totals(connection)
    found |= await compare(parts.database, followed)
    named = {name: some[:NAMED] for name, some in found.items()}
    return {"ok": not any(found.values()), "violations": named, "deposits": totals}


async def _not_stored(parts: Payments) -> Found:
    """Return what the ledger credited and no stored transfer explains, or explains with another amount."""
    after, wrong = 0, Found()
    while page := await parts.accounts.outside(after):
        async with parts.database.transaction() as connection:
            ours = await books.stored(connection, [booked.key for booked in page])
        for booked in page:
            known = ours.get(booked.key)
            if known is None or known.amount != booked.amount:
                stored = "0" if known is None else str(known.amount)
                wrong.append({"key": booked.key, "booked_units": str(booked.amount), "stored_units": stored})
        after = page[-1].place
    return wrong


async def _not_booked(parts: Payments) -> Found:
    """Return deposits that we noted as applied and the ledger does not know, or knows with another amount."""
    after, wrong = books.BEGINNING, Found()
    while True:
        async with parts.database.transaction() as connection:
            page, after = await books.page(connection, after, PAGE)
        if not page:
            return wrong
        wrong += await _unlike_ledger(parts, page)


async def _bookings_not_booked(parts: Payments) -> Found:
    """The same for what we booked besides deposits."""
    after, wrong = "", Found()
    while True:
        async with parts.database.transaction() as connection:
            page = await books.bookings(connection, after, PAGE)
        if not page:
            return wrong
        after = page[-1].key
        wrong += await _unlike_ledger(parts, page)


async def _unlike_ledger(parts: Payments, page: Sequence[Stored]) -> Found:
    """Return what of a page was applied and the ledger does not know, or knows with another amount."""
    applied = [one for one in page if one.applied]
    booked = await parts.accounts.booked([one.key for one in applied]) if applied else {}
    return [
        {"key": one.key, "booked_units": str(booked.get(one.key, 0)), "stored_units": str(one.amount)}
        for one in applied
        if booked.get(one.key) != one.amount
    ]


async def _unlike_chain(parts: Payments, gateway: Gateway) -> Found:
    """Compare some wallets' balances at the solid head with our transfers, while the cursor stands there.

    A look is worth something only when the node's solid head is the block that our cursor is at, before and after.
    """
    info, asset = gateway.info, asset_of(gateway)
    turn = parts.turns.get(info.id, 0)
    async with parts.database.snapshot() as connection:
        cursor = await chain.cursor(connection, info.network)
        wallets = await books.wallets(connection, asset, turn, WALLETS_A_PASS)
        own = await books.own_wallets(connection, asset)
    parts.turns[info.id] = wallets[-1].id if len(wallets) == WALLETS_A_PASS else 0
    wallets = own + wallets
    if cursor is None or not wallets:
        return []
    try:
        return await _compare_at(gateway, cursor.hash, wallets)
    except NodeUnavailable:
        return []


async def _compare_at(gateway: Gateway, block_hash: str, wallets: Sequence[WalletBook]) -> Found:
    wrong = Found()
    for wallet in wallets:
        on_chain = await gateway.chain.balance(gateway.asset, wallet.address)
        if (await gateway.chain.solid_head()).hash != block_hash:
            return wrong
        if on_chain != wallet.units:
            found = {
                "address": wallet.address,
                "currency": gateway.info.currency,
                "chain_units": str(on_chain),
                "stored_units": str(wallet.units),
            }
            wrong.append(found)
    return wrong
