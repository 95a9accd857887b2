"""Scan solid blocks: what arrives is stored, told and counted in the transaction that moves the cursor.

The cost does not depend on how many payments wait. Nothing is skipped: a block that does not fit, or that a node
does not give whole, is asked for again. Where no node's chain fits on ours, the scan stands still until a person
has looked; what was credited stays credited.
"""

from contextlib import aclosing

from payments.db import chain
from payments.db.chain import Cursor, CursorMoved
from payments.domain.errors import ForeignBlock
from payments.domain.model import Header
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments
from payments.use_cases.fetch_blocks import fetch_blocks, link_blocks
from payments.use_cases.open_wallets import open_own_wallets
from payments.use_cases.store_blocks import store_blocks
from payments.use_cases.tell_lag import tell_foreign, tell_lag, tell_progress
from payments.use_cases.watch_head import watch_head

MOST_BLOCKS = 500
"""Blocks of one call: the next call goes on."""


async def scan_chain(parts: Payments, gateway: Gateway) -> int:
    """Scan up to the solid head, `MOST_BLOCKS` at most; return how many blocks were scanned.

    Raises:
        NodeUnavailable: when no node answers, or none truthfully; the next call goes on from here.
    """
    network = gateway.info.network
    cursor = await begin_scanning(parts, gateway)
    state, began = parts.scans[network], cursor.height
    try:
        await open_own_wallets(parts, gateway)
        head = await gateway.chain.solid_head()
        grown = 0 if state.solid is None else max(0, head.height - state.solid.height)
        state.solid = head
        cursor = await _catch_up(parts, gateway, cursor, head)
    finally:
        tell_lag(parts, network, cursor)
    if cursor.height >= head.height:
        await watch_head(parts, gateway, head, grown)
    return max(0, cursor.height - began)


async def _catch_up(parts: Payments, gateway: Gateway, cursor: Cursor, head: Header) -> Cursor:
    """Store what is solid and not scanned, as it comes in order; return where the cursor is."""
    network = gateway.info.network
    known = {head.height: head} | parts.scans[network].view.solid_headers(head)
    heights = range(cursor.height + 1, min(head.height, cursor.height + MOST_BLOCKS) + 1)
    fetching = fetch_blocks(gateway.chain, heights, known, parts.policy.blocks_in_flight)
    async with aclosing(fetching) as batches:
        async for batch in batches:
            try:
                linked = await link_blocks(gateway.chain, cursor.hash, batch)
                await store_blocks(parts, gateway, cursor, linked)
            except ForeignBlock as error:
                await tell_foreign(parts, network, cursor, error)
                break
            except CursorMoved:  # another scanner works: it stores these blocks
                break
            last = linked[-1].header
            cursor = Cursor(last.height, last.hash, last.time)
            tell_progress(parts, network, cursor)
            if len(linked) < len(batch):
                break
    return cursor


async def begin_scanning(parts: Payments, gateway: Gateway) -> Cursor:
    """Return the scan cursor; the first call places it at the solid head, before any address is given out.

    Raises:
        NodeUnavailable: when there is no cursor yet and no node answers.
    """
    network = gateway.info.network
    async with parts.database.transaction() as connection:
        cursor = await chain.cursor(connection, network)
    if cursor is not None:
        return cursor
    header = await gateway.chain.solid_head()
    async with parts.database.transaction() as connection:
        await chain.start(connection, network, header)
        cursor = await chain.cursor(connection, network)
    assert cursor is not None, "it was placed just now"
    return cursor
