"""Scan solid blocks: what arrives is stored, told and counted in the transaction that moves the cursor.

The cost does not depend on how many payments wait. Nothing is skipped: a block that does not fit, or that a node
does not give whole, is asked for again.
"""

from common import outbox
from common.crash import crash_point
from common.logging import get_logger
from payments.db import chain
from payments.db.chain import Cursor
from payments.domain import events
from payments.domain.errors import NodeLied
from payments.domain.model import BlockContent, Header
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments
from payments.use_cases.open_wallets import open_own_wallets
from payments.use_cases.store_transfers import store_transfers

log = get_logger()

MOST_BLOCKS = 500
"""Blocks of one call: the next call goes on."""


async def scan_chain(parts: Payments, gateway: Gateway) -> int:
    """Scan up to the solid head, `MOST_BLOCKS` at most; return how many blocks were scanned.

    Raises:
        NodeUnavailable: when the node does not answer, or not truthfully; the next call goes on from here.
    """
    cursor = await begin_scanning(parts, gateway)
    await open_own_wallets(parts, gateway)
    head = await gateway.chain.solid_head()
    last = min(head.height, cursor.height + MOST_BLOCKS)
    for height in range(cursor.height + 1, last + 1):
        header = head if height == head.height else await gateway.chain.solid_header(height)
        content = await gateway.chain.solid_content(header)
        await _store_block(parts, gateway, header, content)
    return max(0, last - cursor.height)


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


async def _store_block(parts: Payments, gateway: Gateway, header: Header, content: BlockContent) -> None:
    network = gateway.info.network
    async with parts.database.transaction() as connection:
        try:
            await chain.advance(connection, network, header)
        except chain.CursorMoved as error:
            raise NodeLied(f"block {header.height} does not follow the block scanned last") from error
        deposits = await store_transfers(parts, connection, gateway.info.network, header, content)
        await outbox.append(connection, [events.received(d, header.time) for d in deposits])
    if deposits:
        crash_point("block.stored")
        parts.told()
        for deposit in deposits:
            log.info("deposit.seen", key=deposit.key, user_id=deposit.user_id, units=str(deposit.amount))
