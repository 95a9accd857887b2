"""Open the books of our own wallets: what they held before we watched them is our capital."""

from common.crash import crash_point
from common.logging import get_logger
from payments.db import bookings, books, chain
from payments.domain.model import TransferClass, funding
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments, asset_of
from payments.use_cases.store_transfers import opening

log = get_logger()


async def open_own_wallets(parts: Payments, gateway: Gateway) -> None:
    """Book what the main and the fuel wallet hold beyond what was scanned, once, while our cursor is at the head.

    While the cursor is behind nothing is opened; the next call tries again.

    Raises:
        NodeUnavailable: when no node answers.
    """
    network, own = gateway.info.network, {gateway.main_address, gateway.fuel_address}
    if own <= parts.opened:
        return
    async with parts.database.transaction() as connection:
        parts.opened.update(await chain.opened(connection, network))
        cursor = await chain.cursor(connection, network)
    siblings = [g for g in parts.gateways.values() if g.info.network == network]
    for address in sorted(own - parts.opened):
        held = {g.info.id: await g.chain.balance(g.asset, address) for g in siblings}
        head = await gateway.chain.solid_head()
        if cursor is None or head.hash != cursor.hash:
            return
        crash_point("opening.read")
        async with parts.database.transaction() as connection:
            locked = await chain.lock_cursor(connection, network)
            if locked.hash != head.hash or not await chain.open_wallet(connection, network, address, head.height):
                return
            for sibling in siblings:
                info = sibling.info
                units = held[info.id] - await books.units_of(connection, asset_of(sibling), address)
                if units > 0:
                    found = opening(head, sibling.asset, address, units)
                    await chain.insert_transfer(
                        connection, (info, head), found, TransferClass.FUNDING, chain.Owner()
                    )
                    await bookings.insert(connection, funding(info, found), parts.clock.now())
        crash_point("wallet.opened")
        parts.opened.add(address)
        log.info("wallet.opened", address=address, height=head.height)
