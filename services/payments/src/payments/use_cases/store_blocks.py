"""Store solid blocks that follow each other, and move the cursor over them, in one transaction.

What can't be stored is set aside, so that it stops neither the scan nor what else its block holds: the blocks are
stored one by one then, and the block at fault transaction by transaction.
"""

from collections.abc import Sequence
from dataclasses import replace

from prometheus_client import Counter

from common import outbox
from common.crash import crash_point
from common.db import Connection, away
from common.logging import get_logger, report
from common.metrics import REGISTRY
from payments.db import chain, quarantine
from payments.db.chain import Cursor, CursorMoved
from payments.domain import events
from payments.domain.model import MOST_RAW, Block, BlockContent, Deposit, Unreadable
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments
from payments.use_cases.store_transfers import store_transfers
from payments.use_cases.tell_lag import tell_hidden

log = get_logger()

SET_ASIDE = Counter(
    "garant_payments_quarantined",
    "Transactions of solid blocks that were set aside",
    ["network"],
    registry=REGISTRY,
)


class TransactionSetAside(Exception):
    """A transaction of a solid block could not be read or stored; the text names it."""


async def store_blocks(parts: Payments, gateway: Gateway, cursor: Cursor, blocks: Sequence[Block]) -> None:
    """Store blocks that follow the cursor's.

    Raises:
        CursorMoved: when another scanner was faster; nothing was stored then, or blocks before it.
    """
    try:
        await _store(parts, gateway, cursor, blocks)
    except CursorMoved:
        raise
    except Exception as error:
        if away(error):
            raise
        log.error("blocks.not_stored", first=blocks[0].header.height, blocks=len(blocks), error=repr(error))
        for block in blocks:
            await _store_one(parts, gateway, cursor, block)
            cursor = Cursor(block.header.height, block.header.hash, block.header.time)


async def _store_one(parts: Payments, gateway: Gateway, cursor: Cursor, block: Block) -> None:
    try:
        await _store(parts, gateway, cursor, [block])
    except CursorMoved:
        raise
    except Exception as error:
        if away(error):
            raise
        await _store(parts, gateway, cursor, [block], apart=True)


async def _store(
    parts: Payments, gateway: Gateway, cursor: Cursor, blocks: Sequence[Block], *, apart: bool = False
) -> None:
    network, now = gateway.info.network, parts.clock.now()
    deposits: list[Deposit] = []
    aside: list[tuple[int, Unreadable]] = []
    async with parts.database.transaction() as connection:
        await chain.advance(connection, network, cursor, blocks[-1].header)
        for block in blocks:
            unreadable = block.content.unreadable
            if apart:
                found, refused = await store_apart(parts, connection, network, block)
                unreadable = [*unreadable, *refused]
            else:
                found = await store_transfers(parts, connection, network, block.header, block.content)
            await quarantine.insert(connection, network, block.header.height, unreadable, now)
            await outbox.append(connection, [events.received(d, block.header.time) for d in found])
            aside += [(block.header.height, item) for item in unreadable]
            deposits += found
    if deposits:
        crash_point("block.stored")
    for block in blocks:
        tell_hidden(parts, network, block.header.height, block.content.hidden)
    if deposits:
        parts.told()
    for deposit in deposits:
        log.info("deposit.seen", key=deposit.key, user_id=deposit.user_id, units=str(deposit.amount))
    tell_aside(network, aside)


async def store_apart(
    parts: Payments, connection: Connection, network: str, block: Block, *, again: bool = False
) -> tuple[list[Deposit], list[Unreadable]]:
    """Store each transaction of a block by itself; return the deposits, and what was refused.

    Args:
        again: the block was scanned before.
    """
    deposits: list[Deposit] = []
    refused: list[Unreadable] = []
    for txid in dict.fromkeys(r.txid for r in block.content.results):
        piece = only(block.content, txid)
        found, error = await _store_piece(parts, connection, network, Block(block.header, piece), again=again)
        deposits += found
        if error is not None:
            refused.append(Unreadable(txid, f"{type(error).__name__}: {error}"[:500], repr(piece)[:MOST_RAW]))
            # How it ended is stored all the same where that can be: ours must never pass for lost.
            ended = Block(block.header, replace(piece, transfers=[]))
            await _store_piece(parts, connection, network, ended, again=again)
    return deposits, refused


async def _store_piece(
    parts: Payments, connection: Connection, network: str, piece: Block, *, again: bool
) -> tuple[list[Deposit], Exception | None]:
    """Store what one transaction brings, or nothing; return what is wrong with it."""
    try:
        async with connection.savepoint():
            stored = await store_transfers(parts, connection, network, piece.header, piece.content, again=again)
            return stored, None
    except Exception as error:
        if away(error):
            raise
        return [], error


def only(content: BlockContent, txid: str) -> BlockContent:
    """Return what a block holds of one transaction."""
    return BlockContent(
        [t for t in content.transfers if t.txid == txid],
        [r for r in content.results if r.txid == txid],
        [u for u in content.unreadable if u.txid == txid],
    )


def tell_aside(network: str, aside: Sequence[tuple[int, Unreadable]]) -> None:
    """Tell what was set aside, with its block's height."""
    for height, item in aside:
        SET_ASIDE.labels(network).inc()
        log.error("transaction.set_aside", txid=item.txid, height=height, reason=item.reason)
        report(TransactionSetAside(f"{network} {height} {item.txid}: {item.reason}"))
