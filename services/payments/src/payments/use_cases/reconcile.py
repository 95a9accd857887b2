"""Chain against books against ledger: wallet by wallet, then the sums (invariant 4 of docs/architecture.md).

A balance counts when the solid head was one block before and after it was read; it is compared with our books at
that block's height, once our cursor has passed it. The ledger is read before our own rows: what it knows was
stored by us first, so what it does not know yet is in flight and never a difference.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from common.db import Connection
from common.errors import Conflict
from payments.db import books, chain, reconciling
from payments.db.reconciling import Item, Watched
from payments.domain.errors import NodeLied
from payments.domain.model import Header
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments, asset_of

AT_ONCE = 5
"""Balances that the node is asked for at the same time: a block has to last for them."""
PAGE = 500
LOOKS = 30
"""How often a few wallets are read anew because a block came meanwhile."""
CURSOR_WAITS = 60
WAIT_S = 0.5

Tell = Callable[[str], None]


class ScannerBehind(Conflict):
    """Our cursor does not reach the block whose balances were read, or never was at the head."""

    code = "scanner_behind"


@dataclass(frozen=True, slots=True)
class Difference:
    """A wallet that has another balance than our books say."""

    wallet: Watched
    currency: str
    height: int
    chain_units: int
    book_units: int


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """A key that the ledger and we have different amounts for; 0 where one has nothing."""

    key: str
    kind: str
    currency: str
    ledger_units: int
    stored_units: int


@dataclass(slots=True)
class Total:
    """A currency's sums, in smallest units; a payout and a fee count as less than zero."""

    currency: str
    wallets: int = 0
    staked: int = 0
    ledger: int = 0
    in_flight: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By kind: stored by us, and not applied in the ledger yet."""

    @property
    def difference(self) -> int:
        """What the wallets have beyond what the ledger and what is in flight explain."""
        return self.wallets + self.staked - self.ledger - sum(self.in_flight.values())


@dataclass(slots=True)
class Reconciled:
    """What was compared, and what does not agree."""

    compared: int = 0
    wallets: list[Difference] = field(default_factory=list)
    keys: list[KeyDifference] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Tell whether everything agrees."""
        return not self.wallets and not self.keys and all(total.difference == 0 for total in self.totals)


@dataclass(frozen=True, slots=True)
class Sides:
    """What is matched key by key: the ledger's operations that we have not found yet, and what came of it."""

    began: datetime
    """When the ledger was asked for them."""
    ledger: dict[str, Item]
    totals: Mapping[str, Total]
    found: Reconciled


async def reconcile(parts: Payments, tell: Tell, *, everyone: bool) -> Reconciled:
    """Compare.

    Args:
        tell: is told how far it is.
        everyone: wallets that never received anything, too.

    Raises:
        Unavailable: when the node or accounts does not answer.
        ScannerBehind: when the scanner does not come to the head.
    """
    found = Reconciled()
    for network in sorted({gateway.info.network for gateway in parts.gateways.values()}):
        gateways = [g for g in parts.gateways.values() if g.info.network == network]
        await _compare_network(parts, gateways, found, tell, everyone=everyone)
    await _compare_sums(parts, found, tell)
    return found


async def _compare_network(
    parts: Payments, gateways: Sequence[Gateway], found: Reconciled, tell: Tell, *, everyone: bool
) -> None:
    network = gateways[0].info.network
    async with parts.database.transaction() as connection:
        own = sorted(await chain.opened(connection, network))
        if not {a for g in gateways for a in (g.main_address, g.fuel_address)} <= set(own):
            raise ScannerBehind("our own wallets' books are not open yet: the worker opens them at the solid head")
        count = len(own) + await reconciling.count(connection, network, everyone=everyone)
    page, after = [Watched(0, address) for address in own], 0
    while True:
        for start in range(0, len(page), AT_ONCE):
            some = page[start : start + AT_ONCE]
            for gateway in gateways:
                found.wallets += await _compare(parts, gateway, some)
            found.compared += len(some)
            tell(f"{found.compared:,} of {count:,} wallets compared, {len(found.wallets)} differ")
        async with parts.database.transaction() as connection:
            page = await reconciling.watched(connection, network, after, PAGE, everyone=everyone)
        if not page:
            return
        after = page[-1].id


async def _compare(parts: Payments, gateway: Gateway, some: Sequence[Watched]) -> list[Difference]:
    header, balances = await _read_balances(gateway, some)
    await _until_scanned(parts, gateway, header)
    async with parts.database.transaction() as connection:
        addresses = [wallet.address for wallet in some]
        booked = await reconciling.units_at(connection, asset_of(gateway), addresses, header.height)
    return [
        Difference(wallet, gateway.info.currency, header.height, units, booked[wallet.address])
        for wallet, units in zip(some, balances, strict=True)
        if units != booked[wallet.address]
    ]


async def _read_balances(gateway: Gateway, some: Sequence[Watched]) -> tuple[Header, list[int]]:
    """Return balances of one solid block, and the block."""
    before = await gateway.chain.solid_head()
    for _ in range(LOOKS):
        balances = await asyncio.gather(*(gateway.chain.balance(gateway.asset, w.address) for w in some))
        after = await gateway.chain.solid_head()
        if after.hash == before.hash:
            return before, balances
        before = after
    raise NodeLied(f"the solid head moved in each of {LOOKS} looks at {len(some)} balances: the node is too slow")


async def _until_scanned(parts: Payments, gateway: Gateway, header: Header) -> None:
    for _ in range(CURSOR_WAITS):
        async with parts.database.transaction() as connection:
            cursor = await chain.cursor(connection, gateway.info.network)
        if cursor is not None and cursor.height >= header.height:
            if cursor.height == header.height and cursor.hash != header.hash:
                raise NodeLied(f"block {header.height} is not the block that was scanned")
            return
        await asyncio.sleep(WAIT_S)
    at = "nowhere" if cursor is None else f"at block {cursor.height:,}"
    raise ScannerBehind(f"the solid head is block {header.height:,} and our cursor {at}: does the worker run?")


async def _compare_sums(parts: Payments, found: Reconciled, tell: Tell) -> None:
    totals = {g.info.currency: Total(g.info.currency) for g in parts.gateways.values()}
    books_of = Sides(parts.clock.now(), await _read_ledger(parts, tell), totals, found)
    ledger = books_of.ledger
    for item in ledger.values():
        totals.setdefault(item.currency, Total(item.currency)).ledger += _signed(item)
    async with parts.database.snapshot() as connection:
        for gateway in parts.gateways.values():
            units, staked = await reconciling.total(connection, asset_of(gateway))
            totals[gateway.info.currency].wallets += units
            totals[gateway.info.currency].staked += staked
        await _match(connection, books_of)
    found.keys += [KeyDifference(i.key, i.kind, i.currency, i.units, 0) for i in ledger.values()]
    found.totals = sorted(totals.values(), key=lambda total: total.currency)


async def _read_ledger(parts: Payments, tell: Tell) -> dict[str, Item]:
    """Return what the ledger has between it and the outside, by key."""
    after, found = 0, dict[str, Item]()
    while page := await parts.accounts.credited(after):
        found |= {o.key: Item(o.key, o.kind, o.currency or "?", o.amount) for o in page}
        after = page[-1].place
        tell(f"{len(found):,} operations of the ledger read")
    return found


async def _match(connection: Connection, sides: Sides) -> None:
    """Take what we stored out of the ledger's side, page by page."""
    place = books.BEGINNING
    while True:
        page, place = await reconciling.deposits(connection, place, PAGE)
        _take(page, sides)
        if not page:
            break
    after = ""
    while page := await reconciling.bookings(connection, after, PAGE):
        _take(page, sides)
        after = page[-1].key
    _take(await reconciling.paid_not_booked(connection), sides)


def _take(page: Sequence[Item], sides: Sides) -> None:
    for item in page:
        booked = sides.ledger.pop(item.key, None)
        if booked is None and (item.applied_at is None or item.applied_at >= sides.began):
            if item.currency in sides.totals:
                sides.totals[item.currency].in_flight[item.kind] += _signed(item)
        elif booked is None or booked.units != item.units:
            units = 0 if booked is None else booked.units
            sides.found.keys.append(KeyDifference(item.key, item.kind, item.currency, units, item.units))


def _signed(item: Item) -> int:
    """Return what an item adds to our wallets."""
    return -item.units if item.kind in ("fee", "payout") else item.units
