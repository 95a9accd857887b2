"""Look at the blocks that are not solid yet, to show payers what is on its way. It moves no money.

Of calls it takes one for each new block: as many blocks come at the head as become solid, so a tick in which
nothing became solid asks for nothing, except now and then.
"""

from contextlib import suppress

from payments.db import chain, payments, seen
from payments.db.seen import Seen
from payments.domain.errors import NodeUnavailable
from payments.domain.head_view import MOST_UNSOLID, HeadView
from payments.domain.model import HeadBlock, Header
from payments.domain.ports import Chain, Gateway
from payments.use_cases.context import Payments

PROBE_AFTER = 5
"""Ticks without a new solid block after which the head is looked for all the same."""


async def watch_head(parts: Payments, gateway: Gateway, solid: Header, grown: int) -> None:
    """Follow the head, and store what it shows for our wallets; where no node answers it waits.

    Args:
        solid: the newest solid block, which was scanned.
        grown: how many blocks became solid since the last look.
    """
    view = parts.scans[gateway.info.network].view
    before = {block.header.hash for block in view.blocks.values()}
    view.drop_solid(solid)
    with suppress(NodeUnavailable):  # for display alone: the next tick looks again
        await _follow(gateway.chain, view, solid, _wanted(view, grown))
    fresh = [block for block in view.blocks.values() if block.header.hash not in before]
    if fresh or grown or not before:
        await _show(parts, gateway, solid, view, fresh)


def _wanted(view: HeadView, grown: int) -> int:
    if not view.blocks:
        return MOST_UNSOLID
    view.quiet = 0 if grown else view.quiet + 1
    return MOST_UNSOLID if view.quiet and view.quiet % PROBE_AFTER == 0 else grown


async def _follow(source: Chain, view: HeadView, solid: Header, wanted: int) -> None:
    """Fetch up to so many blocks on top of the newest one."""
    for _ in range(wanted):
        height = (view.top or solid.height) + 1
        if height > solid.height + MOST_UNSOLID:
            return
        block = await source.head_block(height)
        if block is None or not await _put(source, view, solid, block):
            return


async def _put(source: Chain, view: HeadView, solid: Header, block: HeadBlock) -> bool:
    """Put a block into the view, with those below that a fork has replaced; False when it fits on nothing."""
    branch = [block]
    while True:
        height = branch[-1].header.height - 1
        below = solid.hash if height == solid.height else view.hash_at(height)
        if below == branch[-1].header.parent:
            view.put(branch)
            return True
        if height <= solid.height:
            return False
        older = await source.head_block(height)
        if older is None or older.header.hash != branch[-1].header.parent:  # it was forked once more
            return False
        branch.append(older)


async def _show(parts: Payments, gateway: Gateway, solid: Header, view: HeadView, fresh: list[HeadBlock]) -> None:
    network, top = gateway.info.network, view.top or solid.height
    hashes = [block.header.hash for block in view.blocks.values()]
    siblings = [g for g in parts.gateways.values() if g.info.network == network]
    currencies = {g.asset: g.info.currency for g in siblings}
    own = {a for g in siblings for a in (g.main_address, g.fuel_address)}  # what we move is no deposit
    addresses = {t.to_address for block in fresh for t in block.transfers}
    async with parts.database.transaction() as connection:
        await chain.set_head(connection, network, top)
        await seen.forget(connection, network, solid.height, top, hashes)
        wallets = await payments.wallets_by_address(connection, network, sorted(addresses)) if addresses else {}
        for block in fresh:
            for place, transfer in enumerate(block.transfers):
                wallet = wallets.get(transfer.to_address)
                if wallet is not None and transfer.asset in currencies and transfer.from_address not in own:
                    place_of = (block.header.hash, block.header.height, transfer.txid, place)
                    found = Seen(*place_of, wallet.id, currencies[transfer.asset], transfer.amount)
                    await seen.insert(connection, network, found)
