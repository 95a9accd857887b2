"""Find wallets and their deposits again, where payments' database was lost and the seed restored.

The ledger knows whom each deposit was credited to, the chain knows to which address it went, and the seed's public
key knows the address's index. The steps can be killed anywhere and done again; what is done stays as it is:

1. for each deposit that the ledger booked and we don't have: its transaction on the chain gives the address, the
   address its index; no number below the highest index and a gap is given out again; wallet and deposit are stored
2. addresses that could have been given out and never received anything are stored without an owner: what reaches
   them is `unexplained`, an alarm, and waits for `assign_wallet`
3. the scanner goes on from before the last deposit, so what came while we were away is credited
4. what left a wallet in blocks older than that is carried forward as one sum, so books and chain agree
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from common import outbox
from common.errors import InvalidInput
from payments.db import bookings, books, chain, payments, restore, sweeps
from payments.db.books import WalletBook
from payments.db.chain import Owner
from payments.domain import events
from payments.domain.intents import NATIVE
from payments.domain.model import Arrival, Booking, Credited, Deposit, Header, Placed, TransferClass
from payments.domain.ports import Addresses, Gateway
from payments.use_cases.context import Payments, asset_of
from payments.use_cases.scan_chain import MOST_BLOCKS, begin_scanning, scan_chain

GAP = 10_000
CHUNK = 100
AT_ONCE = 5
"""Transactions that the node is asked for at the same time."""
DERIVED_AT_ONCE = 2_000
RESCANNED = 28_800
"""A day of blocks: a deposit may have been credited before one of an older block was."""
LOOKS = 20
"""How often a wallet is compared anew because a block came meanwhile."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class Restored:
    """What was found; `problems` names what must be looked at."""

    deposits: int = 0
    wallets: int = 0
    next_index: int = 0
    without_owner: int = 0
    blocks: int = 0
    carried_forward: int = 0
    problems: list[str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """Return it for a person."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Found:
    """A deposit of the ledger, and where the chain has it."""

    credited: Credited
    placed: Placed
    gateway: Gateway


class Indexes:
    """The indexes of addresses, derived as far as needed."""

    def __init__(self, addresses: Addresses, gap: int) -> None:
        self._addresses = addresses
        self._gap = gap
        self._known: dict[str, int] = {}
        self.highest = -1

    def find(self, address: str) -> int | None:
        """Return an address's index; None when it is not within the gap beyond the highest one found."""
        for _ in self._derive_until(address):
            pass
        index = self._known.get(address)
        if index is not None:
            self.highest = max(self.highest, index)
        return index

    def _derive_until(self, address: str) -> Iterator[None]:
        while address not in self._known and len(self._known) <= self.highest + self._gap:
            index = len(self._known)
            self._known[self._addresses.deposit_address(index)] = index
            yield


async def restore_wallets(parts: Payments, gap: int, from_height: int | None, tell: Tell) -> Restored:
    """Restore, telling each step; see the module.

    Args:
        gap: how many addresses beyond the last one found may have been given out.
        from_height: scan again from this block on.

    Raises:
        Unavailable: when accounts or the node does not answer; the next call goes on.
    """
    if gap < 1:
        raise InvalidInput("--gap must be 1 or more")
    found = Restored()
    gateways = list(parts.gateways.values())
    indexes = Indexes(gateways[0].addresses, gap)
    await _restore_deposits(parts, indexes, gap, found, tell)
    for network in sorted({gateway.info.network for gateway in gateways}):
        await _store_ownerless(parts, network, gateways[0].addresses, found, tell)
    for gateway in {g.info.network: g for g in gateways}.values():
        await _scan(parts, gateway, from_height, found, tell)
    for gateway in gateways:
        await _carry_forward(parts, gateway, found, tell)
    return found


async def _restore_deposits(parts: Payments, indexes: Indexes, gap: int, found: Restored, tell: Tell) -> None:
    async with parts.database.transaction() as connection:
        if not await restore.any_wallet(connection):
            await restore.skip_to(connection, gap)
    after, looked = 0, 0
    while page := await parts.accounts.credited(after):
        await _restore_bookings(parts, [c for c in page if c.kind != "deposit"], gap)
        async with parts.database.transaction() as connection:
            stored = await books.stored(connection, [credited.key for credited in page])
        missing = [c for c in page if c.kind == "deposit" and c.key not in stored]
        for start in range(0, len(missing), CHUNK):
            located = await _locate(parts, missing[start : start + CHUNK], found)
            await _store(parts, located, (indexes, gap), found)
            tell(f"{found.deposits} deposits and {found.wallets} wallets restored")
        after, looked = page[-1].place, looked + len(page)
        tell(f"{looked} deposits of the ledger looked at")


async def _restore_bookings(parts: Payments, some: Sequence[Credited], gap: int) -> None:
    """Store what the ledger has from outside besides deposits; no withdrawal gets a number that one had."""
    paid = [int(one.key.split(":")[1]) for one in some if one.kind == "payout"]
    async with parts.database.transaction() as connection:
        if paid:
            await restore.skip_to(connection, max(paid) + gap + 1)
        for one in some:
            outside = f"external:{one.gateway_id}"
            giver, taker = (outside, one.owner) if one.kind == "funding" else (one.owner, outside)
            booking = Booking(one.key, one.kind, one.tenant_id, one.currency, giver, taker, one.amount)
            await bookings.insert(connection, booking, parts.clock.now())
        await bookings.applied(connection, [one.key for one in some], parts.clock.now())


async def _locate(parts: Payments, some: Sequence[Credited], found: Restored) -> list[Found]:
    """Find deposits on the chain; what can't be found, or is another amount, is a problem."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def locate(credited: Credited) -> Found | None:
        gateway = parts.gateways.get(credited.gateway_id)
        if gateway is None:
            found.problems.append(f"{credited.key}: there is no gateway {credited.gateway_id}")
            return None
        _, txid, log_index = credited.key.split(":")
        async with limit:
            placed = await gateway.chain.transfer_at(txid, int(log_index))
        if placed is None or placed.transfer.amount != credited.amount:
            has = "nothing" if placed is None else f"{placed.transfer.amount} units"
            found.problems.append(f"{credited.key}: the ledger has {credited.amount} units, the chain {has}")
            return None
        return Found(credited, placed, gateway)

    return [one for one in await asyncio.gather(*map(locate, some)) if one is not None]


async def _store(parts: Payments, some: Sequence[Found], walk: tuple[Indexes, int], found: Restored) -> None:
    """Store deposits and their wallets; the counters are beyond them before: a crash gives nothing twice."""
    indexes, gap = walk
    placed = [(one, indexes.find(one.placed.transfer.to_address)) for one in some]
    async with parts.database.transaction() as connection:
        if indexes.highest >= 0:
            await restore.skip_to(connection, indexes.highest + gap + 1)
        for one, index in placed:
            address = one.placed.transfer.to_address
            if index is None:
                found.problems.append(f"{one.credited.key}: {address} is not the seed's within --gap")
                continue
            info, owner = one.gateway.info, (one.credited.tenant_id, one.credited.user_id)
            new = await restore.insert_wallet(connection, owner, (info.id, info.network), index, address)
            wallet = (await payments.wallets_by_address(connection, info.network, [address]))[address]
            if (wallet.tenant_id, wallet.user_id) != owner:
                found.problems.append(f"{one.credited.key}: {address} is the wallet of user {wallet.user_id}")
                continue
            header = Header(one.placed.height, "", "", one.placed.time, empty=False)
            place, owners = (info, header), Owner(wallet.id, None, Arrival.UNASKED)
            await chain.insert_transfer(connection, place, one.placed.transfer, TransferClass.DEPOSIT, owners)
            await chain.applied(connection, [one.credited.key], parts.clock.now())
            # Told again under the ledger's key, it changes nothing there, and the outbox is whole.
            await outbox.append(connection, [events.received(_deposit(one), one.placed.time)])
            found.deposits += 1
            found.wallets += new


def _deposit(one: Found) -> Deposit:
    return Deposit(
        network=one.gateway.info.network,
        txid=one.placed.transfer.txid,
        log_index=one.placed.transfer.log_index,
        height=one.placed.height,
        tenant_id=one.credited.tenant_id,
        user_id=one.credited.user_id,
        gateway_id=one.credited.gateway_id,
        payment_id=None,
        currency=one.credited.currency,
        amount=one.credited.amount,
        address=one.placed.transfer.to_address,
        arrival=Arrival.UNASKED.value,
    )


async def _store_ownerless(
    parts: Payments, network: str, addresses: Addresses, found: Restored, tell: Tell
) -> None:
    async with parts.database.transaction() as connection:
        found.next_index = await restore.next_index(connection)
    after = 0
    while True:
        async with parts.database.transaction() as connection:
            some = await restore.unknown_indexes(connection, network, after, found.next_index, DERIVED_AT_ONCE)
            derived = {addresses.deposit_address(index): index for index in some}
            await restore.insert_ownerless(connection, network, derived)
        found.without_owner += len(some)
        if len(some) < DERIVED_AT_ONCE:
            return
        after = some[-1] + 1
        tell(f"{found.without_owner} addresses without an owner are watched")


async def _scan(parts: Payments, gateway: Gateway, from_height: int | None, found: Restored, tell: Tell) -> None:
    """Place the cursor where it is lost, and scan up to the solid head."""
    network = gateway.info.network
    async with parts.database.transaction() as connection:
        cursor = await chain.cursor(connection, network)
        heights = await restore.deposit_heights(connection, network)
    start = None
    if from_height is not None:
        start = from_height - 1
        if cursor is not None and start > cursor.height:
            raise InvalidInput(f"--from-height {from_height} would skip blocks: {cursor.height} was scanned last")
    elif cursor is None and heights is not None:
        start = max(heights[0], heights[1] - RESCANNED) - 1
    if start is not None:
        header = await gateway.chain.solid_header(max(0, start))
        async with parts.database.transaction() as connection:
            await restore.place_cursor(connection, network, header)
    await begin_scanning(parts, gateway)
    scanned = MOST_BLOCKS
    while scanned == MOST_BLOCKS:
        scanned = await scan_chain(parts, gateway)
        found.blocks += scanned
        tell(f"{found.blocks} blocks scanned")


async def _carry_forward(parts: Payments, gateway: Gateway, found: Restored, tell: Tell) -> None:
    after, looked = 0, 0
    while True:
        async with parts.database.transaction() as connection:
            page = await books.wallets(connection, asset_of(gateway), after, CHUNK)
        for book in page:
            await _carry_wallet(parts, gateway, book, found)
        looked += len(page)
        if len(page) < CHUNK:
            return
        after = page[-1].id
        tell(f"{looked} wallets compared with the chain")


async def _carry_wallet(parts: Payments, gateway: Gateway, book: WalletBook, found: Restored) -> None:
    """Compare a wallet with the chain at the block that the cursor is at; carry forward what left it before."""
    info = gateway.info
    for _ in range(LOOKS):
        async with parts.database.snapshot() as connection:
            cursor = await chain.cursor(connection, info.network)
            (now,) = await books.wallets(connection, asset_of(gateway), book.id - 1, 1)
        assert cursor is not None, "it was scanned up to the head just now"
        on_chain = await gateway.chain.balance(gateway.asset, book.address)
        if (await gateway.chain.solid_head()).hash == cursor.hash:
            break
        found.blocks += await scan_chain(parts, gateway)
    else:
        found.problems.append(f"{book.address} could not be compared: blocks came faster than answers")
        return
    native = gateway.asset == NATIVE  # our fuel comes and burns: what is there beyond the books is ours
    if on_chain > now.units and not native:
        found.problems.append(
            f"{book.address} has {on_chain - now.units} units more than the ledger and the scanned blocks tell;"
            " scan from an older block: --from-height"
        )
        return
    async with parts.database.transaction() as connection:
        wallet = (await payments.wallets_by_address(connection, info.network, [book.address]))[book.address]
        gone, came = max(0, now.units - on_chain), max(0, on_chain - now.units)
        swept = gone
        if native:  # the rest of it burned
            owed = await sweeps.unswept(connection, wallet.id, info.currency)
            swept = max(0, min(gone, owed - on_chain))
        for move in (
            (book.address, gateway.main_address, swept),
            (book.address, restore.BURNED, gone - swept),
            (gateway.fuel_address, book.address, came),
        ):
            await restore.carry_forward(connection, cursor, wallet, info, move)
        if on_chain == 0 and not native:
            await payments.set_wallet_status(connection, wallet.id, "transferred")
    found.carried_forward += on_chain != now.units
