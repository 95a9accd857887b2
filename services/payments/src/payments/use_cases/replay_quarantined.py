"""Try again what the scanner set aside: its block is fetched anew, read by the code of now, and stored."""

from collections.abc import AsyncIterator

from common import outbox
from common.db import away
from payments.db import quarantine
from payments.db.quarantine import Quarantined
from payments.domain import events
from payments.domain.errors import NodeUnavailable
from payments.domain.model import BlockContent
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments
from payments.use_cases.store_blocks import only
from payments.use_cases.store_transfers import store_transfers

PAGE = 100


class StillUnreadable(Exception):
    """The block holds no such transaction that can be read."""


async def replay_quarantined(parts: Payments, txid: str | None = None) -> AsyncIterator[str]:
    """Try everything that was set aside again, or one transaction; yield a line for each.

    Raises:
        NodeUnavailable: when no node answers.
    """
    after = 0
    by_network = {gateway.info.network: gateway for gateway in parts.gateways.values()}
    while True:
        async with parts.database.transaction() as connection:
            page = await quarantine.still_open(connection, after, PAGE, txid)
        for item in page:
            gateway = by_network.get(item.network)
            outcome = "no gateway is on its network" if gateway is None else await _replay(parts, gateway, item)
            yield f"{item.network} {item.height} {item.txid}: {outcome}"
        if len(page) < PAGE:
            return
        after = page[-1].id


async def _replay(parts: Payments, gateway: Gateway, item: Quarantined) -> str:
    try:
        stored = await _store(parts, gateway, item)
    except NodeUnavailable:
        raise
    except Exception as error:  # one that still can't be stored must not stop the others
        if away(error):
            raise
        return f"still set aside: {type(error).__name__}: {error}"
    return f"stored, {stored} deposits"


async def _store(parts: Payments, gateway: Gateway, item: Quarantined) -> int:
    header = await gateway.chain.solid_header(item.height)
    piece = _piece(await gateway.chain.solid_content(header), item.txid)
    async with parts.database.transaction() as connection:
        if not await quarantine.lock(connection, item.id):
            return 0
        deposits = await store_transfers(parts, connection, gateway.info.network, header, piece)
        await outbox.append(connection, [events.received(d, header.time) for d in deposits])
        await quarantine.resolve(connection, item.id, parts.clock.now())
    parts.told()
    return len(deposits)


def _piece(content: BlockContent, txid: str) -> BlockContent:
    """Return what is to be stored; a transaction that had no id brings its whole block, which is stored once."""
    piece = content if txid.startswith("#") else only(content, txid)
    if piece.unreadable:
        raise StillUnreadable(piece.unreadable[0].reason)
    if not piece.results:
        raise StillUnreadable("its block does not hold it")
    return piece
