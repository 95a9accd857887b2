"""Wallets and payments in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from common.db import Connection, Row, UniqueViolation
from payments.domain.model import Payment, PaymentStatus, Wallet

_WALLET = "w.id, w.tenant_id, w.user_id, w.gateway_id, w.network, w.derivation_index, w.address, w.status"
_PAYMENT = """
    p.id, p.tenant_id, p.user_id, p.gateway_id, p.wallet_id, w.address, p.currency, p.amount::text,
    p.received::text, p.status, p.version, p.created_at, p.updated_at, p.expires_at, w.network
"""
_IDLE_WALLET = sa.text(
    f"""
    SELECT {_WALLET} FROM wallet w
     WHERE w.tenant_id = :tenant_id AND w.user_id = :user_id AND w.gateway_id = :gateway_id
       AND NOT EXISTS (SELECT FROM payment p WHERE p.wallet_id = w.id AND p.status = 'waiting')
     ORDER BY w.id LIMIT 1 FOR NO KEY UPDATE OF w SKIP LOCKED
    """
)
_NEXT_INDEX = sa.text("SELECT nextval('wallet_index')")
_INSERT_WALLET = sa.text(
    f"""
    INSERT INTO wallet AS w (tenant_id, user_id, gateway_id, network, derivation_index, address)
    VALUES (:tenant_id, :user_id, :gateway_id, :network, :index, :address) RETURNING {_WALLET}
    """
)
_INSERT = sa.text(
    f"""
    WITH p AS (
        INSERT INTO payment (tenant_id, user_id, gateway_id, wallet_id, currency, amount, created_height,
                             created_at, updated_at, expires_at)
        VALUES (:tenant_id, :user_id, :gateway_id, :wallet_id, :currency, :amount, :height, :now, :now,
                :expires_at)
        RETURNING *
    )
    SELECT {_PAYMENT} FROM p JOIN wallet w ON w.id = p.wallet_id
    """
)
_READ = sa.text(
    f"""
    SELECT {_PAYMENT} FROM payment p JOIN wallet w ON w.id = p.wallet_id
     WHERE p.id = :id AND p.tenant_id = :tenant_id
    """
)
# Both are found by an index that holds them alone: a join would be planned for the third of all that it guesses.
_PAID = sa.text(
    """
    SELECT id FROM payment
     WHERE status = 'waiting' AND received >= amount AND gateway_id = :gateway_id AND id > :after
     ORDER BY id LIMIT :limit
    """
)
_LATE = sa.text(
    """
    SELECT id FROM payment
     WHERE status = 'waiting' AND received < amount AND gateway_id = :gateway_id AND expires_at <= :chain_time
     ORDER BY expires_at LIMIT :limit
    """
)
_LOCK_WAITING = sa.text(
    f"""
    SELECT {_PAYMENT} FROM payment p JOIN wallet w ON w.id = p.wallet_id
     WHERE p.id = ANY(:ids) AND p.status = 'waiting' ORDER BY p.id FOR NO KEY UPDATE OF p SKIP LOCKED
    """
)
_SET_STATUS = sa.text(
    """
    UPDATE payment SET status = :status, version = version + 1, updated_at = :now WHERE id = :id
    """
)
_BY_ADDRESS = sa.text(f"SELECT {_WALLET} FROM wallet w WHERE w.network = :network AND w.address = ANY(:addresses)")
_SET_WALLET_STATUS = sa.text("UPDATE wallet SET status = :status WHERE id = :id")
# A payment that was made when a block was the head already is younger than it; it owns the block's deposit only
# where no older one does: after a fork its own deposit may come at that height.
_OWNER = sa.text(
    f"""
    SELECT {_PAYMENT} FROM payment p JOIN wallet w ON w.id = p.wallet_id
     WHERE p.wallet_id = :wallet_id AND p.created_height <= :height
     ORDER BY p.created_height < :height DESC, p.created_height DESC, p.id DESC LIMIT 1 FOR NO KEY UPDATE OF p
    """
)
_ADD_RECEIVED = sa.text("UPDATE payment SET received = received + :amount, updated_at = :now WHERE id = :id")


class WalletTaken(Exception):
    """Another payment of the user took the wallet first: choose again."""


def _payment(row: Row) -> Payment:
    values: dict[str, Any] = dict(row)
    values |= {name: int(values[name]) for name in ("amount", "received")}
    return Payment(**values | {"status": PaymentStatus(values["status"])})


async def idle_wallet(connection: Connection, tenant_id: int, user_id: int, gateway_id: str) -> Wallet | None:
    """Return a wallet of the user without a waiting payment, locked, or None."""
    values = {"tenant_id": tenant_id, "user_id": user_id, "gateway_id": gateway_id}
    row = await connection.first(_IDLE_WALLET, values)
    return None if row is None else Wallet(*row)


async def next_index(connection: Connection) -> int:
    """Return an index that no wallet ever had."""
    return int(await connection.value(_NEXT_INDEX))


async def insert_wallet(
    connection: Connection, owner: tuple[int, int], gateway: tuple[str, str], index: int, address: str
) -> Wallet:
    """Store a new wallet.

    Args:
        owner: the tenant and the user.
        gateway: the gateway's id and its network.
    """
    values = {
        "tenant_id": owner[0],
        "user_id": owner[1],
        "gateway_id": gateway[0],
        "network": gateway[1],
        "index": index,
        "address": address,
    }
    return Wallet(*(await connection.one(_INSERT_WALLET, values)))


async def insert(
    connection: Connection,
    wallet: Wallet,
    money: tuple[str, int],
    height: int,
    now: datetime,
    expires_at: datetime,
) -> Payment:
    """Store a new payment.

    Args:
        money: the currency and the amount.
        height: the chain's head as the payment was made: older deposits are not its own.

    Raises:
        WalletTaken: when the wallet has a waiting payment by now.
    """
    values = {
        "tenant_id": wallet.tenant_id,
        "user_id": wallet.user_id,
        "gateway_id": wallet.gateway_id,
        "wallet_id": wallet.id,
        "currency": money[0],
        "amount": money[1],
        "height": height,
        "now": now,
        "expires_at": expires_at,
    }
    try:
        return _payment(await connection.one(_INSERT, values))
    except UniqueViolation as error:
        if "payment_waiting" in str(error):
            raise WalletTaken from error
        raise


async def read(connection: Connection, tenant_id: int, payment_id: int) -> Payment | None:
    """Return a payment of the tenant, or None."""
    row = await connection.first(_READ, {"id": payment_id, "tenant_id": tenant_id})
    return None if row is None else _payment(row)


async def paid(connection: Connection, gateway_id: str, after: int, limit: int) -> list[int]:
    """Return a gateway's waiting payments that received all they asked for, with ids above `after`."""
    values = {"gateway_id": gateway_id, "after": after, "limit": limit}
    return [row[0] for row in await connection.execute(_PAID, values)]


async def late(connection: Connection, gateway_id: str, chain_time: datetime, limit: int) -> list[int]:
    """Return a gateway's waiting payments whose time is over and that did not receive all, the oldest first."""
    values = {"gateway_id": gateway_id, "chain_time": chain_time, "limit": limit}
    return [row[0] for row in await connection.execute(_LATE, values)]


async def lock_waiting(connection: Connection, ids: Sequence[int]) -> list[Payment]:
    """Return those of the payments that still wait and that nobody else has locked, locked."""
    return [_payment(row) for row in await connection.execute(_LOCK_WAITING, {"ids": list(ids)})]


async def set_status(connection: Connection, payment: Payment, status: PaymentStatus, now: datetime) -> None:
    """Give a locked payment its final status."""
    await connection.execute(_SET_STATUS, {"id": payment.id, "status": status.value, "now": now})


async def wallets_by_address(connection: Connection, network: str, addresses: Sequence[str]) -> dict[str, Wallet]:
    """Return those of the addresses that are deposit wallets of ours."""
    values = {"network": network, "addresses": list(addresses)}
    return {row["address"]: Wallet(*row) for row in await connection.execute(_BY_ADDRESS, values)}


async def set_wallet_status(connection: Connection, wallet_id: int, status: str) -> None:
    """Set a wallet's status."""
    await connection.execute(_SET_WALLET_STATUS, {"id": wallet_id, "status": status})


async def owner_of_deposit(connection: Connection, wallet_id: int, height: int) -> Payment | None:
    """Return the wallet's newest payment that was there before the deposit's block, locked."""
    row = await connection.first(_OWNER, {"wallet_id": wallet_id, "height": height})
    return None if row is None else _payment(row)


async def add_received(connection: Connection, payment_id: int, amount: int, now: datetime) -> None:
    """Count a deposit as received for a payment."""
    await connection.execute(_ADD_RECEIVED, {"id": payment_id, "amount": amount, "now": now})
