"""Store what a solid block holds of ours: deposits to credit, our own transactions' ends, capital, and fees."""

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime

from common.db import Connection
from common.logging import get_logger
from payments.db import bookings, chain, outgoing, payments, rescans, restore
from payments.db.chain import Owner
from payments.domain.intents import NATIVE, STAKED
from payments.domain.model import (
    HOUSE_TENANT,
    BlockContent,
    Booking,
    Deposit,
    Header,
    Outgoing,
    Payment,
    PaymentStatus,
    Result,
    Transfer,
    TransferClass,
    Wallet,
    funding,
)
from payments.domain.ports import Gateway
from payments.domain.rules import arrival, classify
from payments.use_cases.context import Payments

log = get_logger()


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is being stored, and what in it is ours."""

    network: str
    header: Header
    gateways: Mapping[str, Gateway]
    """By asset."""
    ours: Mapping[str, Outgoing]
    """By txid."""
    wallets: Mapping[str, Wallet]
    """By address."""
    own: frozenset[str]
    """The addresses of the main and the fuel wallet."""
    ownerless: Set[str]
    """Addresses of ours that nobody is known to have been given, after a restore."""
    now: datetime
    again: bool
    """It is read again: later blocks are stored, and payments went on since."""


async def store_transfers(
    parts: Payments,
    connection: Connection,
    network: str,
    header: Header,
    content: BlockContent,
    *,
    again: bool = False,
) -> list[Deposit]:
    """Store what touches us; return the deposits that were not stored before.

    Args:
        again: the block was scanned before; what is missing is named as it would have been then.
    """
    siblings = [g for g in parts.gateways.values() if g.info.network == network]
    addresses = {a for t in content.transfers for a in (t.from_address, t.to_address)}
    block = Block(
        network=network,
        header=header,
        gateways={g.asset: g for g in siblings},
        ours=await outgoing.by_txid(connection, network, [r.txid for r in content.results]),
        wallets=await payments.wallets_by_address(connection, network, sorted(addresses)),
        own=frozenset(a for g in siblings for a in (g.main_address, g.fuel_address)),
        ownerless=await restore.ownerless(connection, network, sorted(addresses)),
        now=parts.clock.now(),
        again=again,
    )
    moved = {(t.txid, t.from_address) for t in content.transfers}
    for result in content.results:
        own = block.ours.get(result.txid)
        if own is not None:
            await _settle(connection, block, _as_moved(result, own, moved))
    deposits = []
    for transfer in content.transfers:
        gateway = block.gateways.get(transfer.asset)
        touched = {transfer.from_address, transfer.to_address} & (
            block.wallets.keys() | block.own | block.ownerless
        )
        if gateway is not None and touched:
            deposit = await _store(connection, block, gateway, transfer)
            deposits += [deposit] if deposit else []
    return deposits


def opening(head: Header, asset: str, address: str, units: int) -> Transfer:
    """Return the transfer that stands for what a wallet of ours held before its books began."""
    txid = hashlib.sha256(f"opening:{asset}:{address}".encode()).hexdigest()
    return Transfer(txid, 0, asset, "opening", address, units)


def _as_moved(result: Result, own: Outgoing, moved: Set[tuple[str, str]]) -> Result:
    """Call a transfer failed that moved nothing: a token may say no without reverting."""
    moves = own.purpose.name in ("transfer", "payout")
    if result.succeeded and moves and (own.txid, own.purpose.payer) not in moved:
        return replace(result, succeeded=False)
    return result


async def _settle(connection: Connection, block: Block, result: Result) -> None:
    """Record how a transaction of ours ended, and book what it burned: also where it failed."""
    await outgoing.settle(connection, block.network, block.header.height, result)
    native = block.gateways.get(NATIVE)
    if result.fee_sun > 0 and native is not None:
        await _book_fee(connection, block, native, f"{block.network}:{result.txid}:fee", result.fee_sun)


async def _book_fee(connection: Connection, block: Block, gateway: Gateway, key: str, units: int) -> None:
    info = gateway.info
    fee = Booking(key, "fee", HOUSE_TENANT, info.currency, "fees", f"external:{info.id}", units)
    await bookings.insert(connection, fee, block.now)


async def _store(connection: Connection, block: Block, gateway: Gateway, transfer: Transfer) -> Deposit | None:
    own = block.ours.get(transfer.txid)
    # What only moves between our own wallets is ours, even where a restore has lost that we signed it.
    # So is what we stake, and what comes back of it.
    at_home = block.wallets.keys() | block.own | {STAKED}
    inside = transfer.from_address in at_home and transfer.to_address in at_home
    kind = classify(
        ours=own is not None or inside,
        to_deposit_wallet=transfer.to_address in block.wallets,
        to_own_wallet=transfer.to_address in block.own,
    )
    place = (gateway.info, block.header)
    if kind is TransferClass.DEPOSIT:
        return await _store_deposit(connection, block, gateway, transfer)
    new = await chain.insert_transfer(connection, place, transfer, kind, Owner())
    if not new:
        return None
    if kind is TransferClass.FUNDING:
        await bookings.insert(connection, funding(gateway.info, transfer), block.now)
    elif kind is TransferClass.UNEXPLAINED:
        log.error("transfer.unexplained", txid=transfer.txid, from_address=transfer.from_address)
    elif own is not None and transfer.asset != NATIVE and _is_token_fee(block, own, transfer):
        key = f"{block.network}:{transfer.txid}:{transfer.log_index}:token_fee"
        await _book_fee(connection, block, gateway, key, transfer.amount)
    return None


def _is_token_fee(block: Block, own: Outgoing, transfer: Transfer) -> bool:
    """Tell whether a token's owner took this of what we collected; of a payout the recipient bears it."""
    return own.purpose.name != "payout" and transfer.to_address not in block.own


async def _as_it_was(connection: Connection, block: Block, payment: Payment) -> Payment:
    """Return a payment as it was before a block that is read again."""
    received = await rescans.received_before(connection, payment, block.header.height)
    return replace(payment, status=PaymentStatus.WAITING, received=received)


async def _store_deposit(
    connection: Connection, block: Block, gateway: Gateway, transfer: Transfer
) -> Deposit | None:
    wallet, info = block.wallets[transfer.to_address], gateway.info
    payment = await payments.owner_of_deposit(connection, wallet.id, block.header.height)
    then = await _as_it_was(connection, block, payment) if block.again and payment else payment
    named = arrival(then, info.currency, transfer.amount, block.header.time)
    owner = Owner(wallet.id, payment.id if payment else None, named)
    place = (info, block.header)
    if not await chain.insert_transfer(connection, place, transfer, TransferClass.DEPOSIT, owner):
        return None
    if payment is not None and payment.currency == info.currency:
        await payments.add_received(connection, payment.id, transfer.amount, block.now)
    await payments.set_wallet_status(connection, wallet.id, "received")
    return Deposit(
        network=block.network,
        txid=transfer.txid,
        log_index=transfer.log_index,
        height=block.header.height,
        tenant_id=wallet.tenant_id,
        user_id=wallet.user_id,
        gateway_id=info.id,
        payment_id=owner.payment_id,
        currency=info.currency,
        amount=transfer.amount,
        address=wallet.address,
        arrival=named.value,
    )
