"""Scan solid blocks: what arrives is stored, told and counted in the transaction that moves the cursor.

The cost does not depend on how many payments wait. Nothing is skipped: a block that does not fit, or that a node
does not give whole, is asked for again.
"""

from common import outbox
from common.crash import crash_point
from common.db import Connection
from common.logging import get_logger
from payments.db import chain, payments, restore
from payments.db.chain import Cursor
from payments.domain import events
from payments.domain.errors import NodeLied
from payments.domain.model import BlockContent, Deposit, Header, Transfer, TransferClass, Wallet
from payments.domain.ports import Gateway
from payments.domain.rules import classify
from payments.use_cases.context import Payments

log = get_logger()

MOST_BLOCKS = 500
"""Blocks of one call: the next call goes on."""


async def scan_chain(parts: Payments, gateway: Gateway) -> int:
    """Scan up to the solid head, `MOST_BLOCKS` at most; return how many blocks were scanned.

    Raises:
        NodeUnavailable: when the node does not answer, or not truthfully; the next call goes on from here.
    """
    cursor = await begin_scanning(parts, gateway)
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
        deposits = await _store_transfers(parts, connection, gateway, header, content)
        await outbox.append(connection, [events.received(d, header.time) for d in deposits])
    if deposits:
        crash_point("block.stored")
        parts.told()
        for deposit in deposits:
            log.info("deposit.seen", key=deposit.key, user_id=deposit.user_id, units=str(deposit.amount))


async def _store_transfers(
    parts: Payments, connection: Connection, gateway: Gateway, header: Header, content: BlockContent
) -> list[Deposit]:
    """Store what touches us; return the deposits that were not stored before."""
    network = gateway.info.network
    ours = await chain.our_txids(connection, network, [r.txid for r in content.results])
    for result in content.results:
        if result.txid in ours:
            await chain.settle_outgoing(connection, network, header.height, result)
    addresses = {a for t in content.transfers for a in (t.from_address, t.to_address)}
    wallets = await payments.wallets_by_address(connection, network, sorted(addresses))
    own = {gateway.main_address, gateway.fuel_address}
    ownerless = await restore.ownerless(connection, network, sorted(addresses))
    deposits = []
    for transfer in content.transfers:
        if {transfer.from_address, transfer.to_address} & (wallets.keys() | own | ownerless):
            # What only moves between our own wallets is ours, even where a restore has lost that we signed it.
            inside = transfer.from_address in wallets.keys() | own and transfer.to_address in own
            kind = classify(
                ours=transfer.txid in ours or inside,
                to_deposit_wallet=transfer.to_address in wallets,
                to_own_wallet=transfer.to_address in own,
            )
            wallet = wallets.get(transfer.to_address) if kind is TransferClass.DEPOSIT else None
            deposit = await _store_transfer(parts, connection, gateway, (header, transfer, kind), wallet)
            deposits += [deposit] if deposit else []
    return deposits


async def _store_transfer(
    parts: Payments,
    connection: Connection,
    gateway: Gateway,
    found: tuple[Header, Transfer, TransferClass],
    wallet: Wallet | None,
) -> Deposit | None:
    header, transfer, kind = found
    info = gateway.info
    payment_id = None
    if wallet is not None:
        payment_id = await payments.owner_of_deposit(connection, wallet.id, header.height)
    place = (info.network, header, info.currency)
    owner = (wallet.id if wallet else None, payment_id)
    if kind is TransferClass.UNEXPLAINED:
        log.error("transfer.unexplained", txid=transfer.txid, from_address=transfer.from_address)
    new = await chain.insert_transfer(connection, place, transfer, kind, owner)
    if wallet is None or not new:
        return None
    if payment_id is not None:
        await payments.add_received(connection, payment_id, transfer.amount, parts.clock.now())
    await payments.set_wallet_status(connection, wallet.id, "received")
    return Deposit(
        network=info.network,
        txid=transfer.txid,
        log_index=transfer.log_index,
        height=header.height,
        tenant_id=wallet.tenant_id,
        user_id=wallet.user_id,
        gateway_id=info.id,
        payment_id=payment_id,
        currency=info.currency,
        amount=transfer.amount,
        address=wallet.address,
    )
