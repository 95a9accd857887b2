"""Read solid blocks again, and store what is missing. The cursor stays where it is.

Each block is one transaction under the cursor's lock, so a scanner beside it and a kill in its midst change
nothing: what is stored is there once, by its own key, and what is missing is found by the next rescan. A deposit
that is found is told by the usual event and credited like any other.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common import outbox
from common.crash import crash_point
from common.db import away
from common.errors import InvalidInput
from common.logging import get_logger
from payments.db import chain, outgoing, quarantine, rescans
from payments.db.rescans import StoredTransfer
from payments.domain import events
from payments.domain.errors import NodeLied
from payments.domain.model import Block, BlockContent, Deposit, Header, TransferClass, TxState, Unreadable
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments
from payments.use_cases.store_blocks import store_apart, tell_aside
from payments.use_cases.store_transfers import store_transfers

log = get_logger()

AT_ONCE = 8
"""Blocks that the node is asked for at the same time."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class Rescanned:
    """What was read, and what was missing."""

    network: str
    first: int
    last: int
    blocks: int = 0
    found: list[StoredTransfer] = field(default_factory=list)
    settled: int = 0
    """Transactions of ours whose end was not recorded."""
    aside: list[tuple[int, Unreadable]] = field(default_factory=list)
    """Transactions that can't be read or stored, by their block: they are set aside, as the scanner does."""

    @property
    def classes(self) -> Mapping[TransferClass, int]:
        """How many of each class were found."""
        return Counter(one.kind for one in self.found)


async def rescan_blocks(parts: Payments, gateway: Gateway, first: int, last: int | None, tell: Tell) -> Rescanned:
    """Read the blocks from `first` to `last`, or to the cursor, again.

    Raises:
        InvalidInput: when the blocks are not below the cursor.
        NodeUnavailable: when no node answers; what was stored until then stays.
        NodeLied: when the node's blocks are not the ones that lead to our cursor.
    """
    network = gateway.info.network
    async with parts.database.transaction() as connection:
        cursor = await chain.cursor(connection, network)
        counted = await rescans.counted_until(connection, network)
    if cursor is None:
        raise InvalidInput("--from: nothing was scanned yet; the worker begins to scan")
    end = cursor.height if last is None else last
    if not 0 <= first <= end:
        raise InvalidInput(f"--from must be a block from 0 to {end}")
    if end > cursor.height:
        raise InvalidInput(f"--to must not be above the cursor, which is at block {cursor.height}")
    done, before = Rescanned(network, first, end), None
    async for header, content in _read(gateway, first, end):
        if before is not None and header.parent != before.hash:
            raise NodeLied(f"block {header.height} does not follow the block before it")
        if header.height == cursor.height and header.hash != cursor.hash:
            raise NodeLied(f"block {header.height} is not the block that was scanned")
        if content.transfers or content.results or content.unreadable:
            await _store(parts, network, (header, content), counted, done)
        before, done.blocks = header, done.blocks + 1
        tell(f"{done.blocks:,} of {end - first + 1:,} blocks read, {len(done.found)} transfers were missing")
    return done


async def _read(gateway: Gateway, first: int, last: int) -> AsyncIterator[tuple[Header, BlockContent]]:
    """Yield blocks in their order; a few are fetched at the same time."""
    for start in range(first, last + 1, AT_ONCE):
        heights = range(start, min(start + AT_ONCE, last + 1))
        for block in await asyncio.gather(*(_fetch(gateway, height) for height in heights)):
            yield block


async def _fetch(gateway: Gateway, height: int) -> tuple[Header, BlockContent]:
    header = await gateway.chain.solid_header(height)
    return header, await gateway.chain.solid_content(header)


async def _store(
    parts: Payments,
    network: str,
    block: tuple[Header, BlockContent],
    counted: Mapping[str, int],
    done: Rescanned,
) -> None:
    found = Block(block[0], _without_counted(parts, block, counted))
    try:
        deposits = await _store_whole(parts, network, found, done, apart=False)
    except Exception as error:
        if away(error):
            raise
        log.error("block.not_stored", height=found.header.height, error=repr(error))
        deposits = await _store_whole(parts, network, found, done, apart=True)
    if deposits:
        parts.told()
    for deposit in deposits:
        log.info("deposit.found", key=deposit.key, user_id=deposit.user_id, units=str(deposit.amount))


async def _store_whole(
    parts: Payments, network: str, block: Block, done: Rescanned, *, apart: bool
) -> Sequence[Deposit]:
    """Store what is missing of a block, in one piece or transaction by transaction; return its deposits."""
    header, content, aside = block.header, block.content, block.content.unreadable
    async with parts.database.transaction() as connection:
        await chain.lock_cursor(connection, network)  # the scanner stores no block meanwhile
        known = await rescans.stored(connection, network, content.transfers)
        ours = await outgoing.by_txid(connection, network, [r.txid for r in content.results])
        if apart:
            deposits, refused = await store_apart(parts, connection, network, block, again=True)
            aside = [*aside, *refused]
        else:
            deposits = await store_transfers(parts, connection, network, header, content, again=True)
        await outbox.append(connection, [events.received(d, header.time) for d in deposits])
        await quarantine.insert(connection, network, header.height, aside, parts.clock.now())
        places = {(one.txid, one.log_index) for one in known}
        now = await rescans.stored(connection, network, content.transfers)
    crash_point("rescan.stored")
    named = [(header.height, item) for item in aside]
    done.found += [one for one in now if (one.txid, one.log_index) not in places]
    done.aside += named
    done.settled += sum(one.state in (TxState.SENT, TxState.DEAD) for one in ours.values())
    tell_aside(network, named)
    return deposits


def _without_counted(
    parts: Payments, block: tuple[Header, BlockContent], counted: Mapping[str, int]
) -> BlockContent:
    """Leave out what the opening of our own wallet, or what a restore carried forward, counts already.

    A deposit is never left out: what a stranger sends to a wallet is its user's.
    """
    header, content = block
    old = {address for address, until in counted.items() if header.height <= until}
    house = old & {a for g in parts.gateways.values() for a in (g.main_address, g.fuel_address)}
    kept = [t for t in content.transfers if t.from_address not in old and t.to_address not in house]
    return replace(content, transfers=kept)
