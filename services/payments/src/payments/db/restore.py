"""What a restore writes: wallets by their index, books carried forward, and addresses without an owner."""

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from common.db import Connection
from payments.db.chain import Cursor
from payments.domain.model import Arrival, Deposit, GatewayInfo, Header, Wallet

CARRIED = "carried:"
"""Begins what stands for the transactions of a wallet that no block we scan holds any more."""
BURNED = "burned"
"""Where TRX went that paid for transactions whose receipts are lost."""
NEVER_TOLD = datetime(1970, 1, 1, tzinfo=UTC)
"""When what was carried forward happened: long before any event that we keep."""

_COUNTERS = ("wallet_index", "payment_id_seq", "withdrawal_id_seq")
"""Numbers that must not be given out twice."""

_WALLET = sa.text(
    """
    INSERT INTO wallet (tenant_id, user_id, gateway_id, network, derivation_index, address, status)
    VALUES (:tenant_id, :user_id, :gateway_id, :network, :index, :address, 'received')
    ON CONFLICT (network, address) DO NOTHING
    """
)
_ANY_WALLET = sa.text("SELECT count(*) FROM (SELECT 1 FROM wallet LIMIT 1) w")
_SKIP = sa.text("SELECT max(nextval(CAST(:name AS regclass))) FROM generate_series(1, CAST(:count AS bigint))")
_UNKNOWN = sa.text(
    """
    SELECT i FROM generate_series(CAST(:after AS bigint), CAST(:below AS bigint) - 1) AS i
     WHERE NOT EXISTS (SELECT FROM wallet w WHERE w.network = :network AND w.derivation_index = i)
       AND NOT EXISTS (SELECT FROM ownerless_address o WHERE o.network = :network AND o.derivation_index = i)
     ORDER BY i LIMIT :limit
    """
)
_INSERT_OWNERLESS = sa.text(
    """
    INSERT INTO ownerless_address (network, address, derivation_index)
    SELECT :network, a, i FROM unnest(CAST(:addresses AS text[]), CAST(:indexes AS bigint[])) AS u (a, i)
    ON CONFLICT DO NOTHING
    """
)
_OWNERLESS = sa.text(
    "SELECT address FROM ownerless_address WHERE network = :network AND address = ANY(:addresses)"
)
_CLAIM = sa.text(
    "DELETE FROM ownerless_address WHERE network = :network AND address = :address RETURNING derivation_index"
)
_EXPLAIN = sa.text(
    """
    UPDATE transfer t SET class = 'deposit', wallet_id = :wallet_id, arrival = 'unasked'
     WHERE t.network = :network AND t.to_address = :address AND t.class = 'unexplained'
    RETURNING t.txid, t.log_index, t.height, t.block_time, t.gateway_id, t.currency, t.amount::text
    """
)
_HEIGHTS = sa.text("SELECT min(height), max(height) FROM transfer WHERE network = :network AND class = 'deposit'")
_PLACE = sa.text(
    """
    INSERT INTO scan_cursor (network, height, hash, block_time) VALUES (:network, :height, :hash, :time)
    ON CONFLICT (network) DO UPDATE SET height = EXCLUDED.height, hash = EXCLUDED.hash,
                                        block_time = EXCLUDED.block_time
    """
)
_FORGET_TRANSFERS = sa.text("DELETE FROM transfer WHERE network = :network AND txid LIKE :carried")
_FORGET_SWEEPS = sa.text(
    """
    DELETE FROM sweep s USING wallet w
     WHERE w.id = s.wallet_id AND w.network = :network AND s.step = 'swept' AND s.updated_at = :never
    """
)
_CARRY = sa.text(
    """
    INSERT INTO transfer (network, gateway_id, txid, log_index, class, height, block_time, currency, amount,
                          from_address, to_address)
    VALUES (:network, :gateway_id, :txid, 0, 'own', :height, :time, :currency, :amount, :from_address, :to_address)
    ON CONFLICT (network, txid, log_index) DO UPDATE SET amount = transfer.amount + EXCLUDED.amount
    """
)
_CARRY_SWEEPS = sa.text(
    """
    INSERT INTO sweep (wallet_id, gateway_id, currency, amount, step, due_at, created_at, updated_at)
    SELECT w.id, CAST(:gateway_id AS text), CAST(:currency AS text), o.amount - s.amount, 'swept',
           :never, :never, :never
      FROM wallet w,
           LATERAL (SELECT COALESCE(sum(t.amount), 0) AS amount FROM transfer t
                     WHERE t.network = w.network AND t.from_address = w.address AND t.to_address = :main_address
                       AND t.class = 'own' AND t.currency = :currency) o,
           LATERAL (SELECT COALESCE(sum(x.amount), 0) AS amount FROM sweep x
                     WHERE x.wallet_id = w.id AND x.currency = :currency AND x.step = 'swept') s
     WHERE w.id = :wallet_id AND o.amount > s.amount
       AND NOT EXISTS (SELECT FROM sweep a WHERE a.wallet_id = w.id AND a.currency = :currency
                          AND a.step <> 'swept')
    """
)


async def insert_wallet(
    connection: Connection, owner: tuple[int, int], gateway: tuple[str, str], index: int, address: str
) -> bool:
    """Store a wallet that was found again, unless it is there; tell whether it was stored."""
    values = {
        "tenant_id": owner[0],
        "user_id": owner[1],
        "gateway_id": gateway[0],
        "network": gateway[1],
        "index": index,
        "address": address,
    }
    return await connection.count(_WALLET, values) == 1


async def any_wallet(connection: Connection) -> bool:
    """Tell whether there is a wallet."""
    return bool(await connection.value(_ANY_WALLET))


async def next_index(connection: Connection) -> int:
    """Return the index that the next new wallet gets."""
    return await _next(connection, "wallet_index")


async def _next(connection: Connection, counter: str) -> int:
    last, called = await connection.one(sa.text(f"SELECT last_value, is_called FROM {counter}"))
    return int(last) + 1 if called else int(last)


async def skip_to(connection: Connection, number: int) -> None:
    """Let no new wallet or payment get a number below this one."""
    for counter in _COUNTERS:
        count = number - await _next(connection, counter)
        if count > 0:
            await connection.execute(_SKIP, {"name": counter, "count": count})


async def unknown_indexes(connection: Connection, network: str, after: int, below: int, limit: int) -> list[int]:
    """Return indexes that were or could have been given out, and have no wallet."""
    values = {"network": network, "after": after, "below": below, "limit": limit}
    return [int(row[0]) for row in await connection.execute(_UNKNOWN, values)]


async def insert_ownerless(connection: Connection, network: str, addresses: dict[str, int]) -> None:
    """Store addresses that nobody is known to own, with their indexes, so that the scanner sees them."""
    values = {"network": network, "addresses": list(addresses), "indexes": list(addresses.values())}
    await connection.execute(_INSERT_OWNERLESS, values)


async def ownerless(connection: Connection, network: str, addresses: Sequence[str]) -> set[str]:
    """Return those of the addresses that are ours and nobody's."""
    rows = await connection.execute(_OWNERLESS, {"network": network, "addresses": list(addresses)})
    return {row[0] for row in rows}


async def claim(connection: Connection, network: str, address: str) -> int | None:
    """Take an address out of those without an owner; return its index, or None when it is none of them."""
    row = await connection.first(_CLAIM, {"network": network, "address": address})
    return None if row is None else int(row[0])


async def explain(connection: Connection, wallet: Wallet) -> list[tuple[Deposit, datetime]]:
    """Make deposits of what reached an address before it had an owner; return them with their blocks' times."""
    values = {"network": wallet.network, "address": wallet.address, "wallet_id": wallet.id}
    return [
        (
            Deposit(
                network=wallet.network,
                txid=row["txid"],
                log_index=row["log_index"],
                height=row["height"],
                tenant_id=wallet.tenant_id,
                user_id=wallet.user_id,
                gateway_id=row["gateway_id"],
                payment_id=None,
                currency=row["currency"],
                amount=int(row["amount"]),
                address=wallet.address,
                arrival=Arrival.UNASKED.value,
            ),
            row["block_time"],
        )
        for row in await connection.execute(_EXPLAIN, values)
    ]


async def deposit_heights(connection: Connection, network: str) -> tuple[int, int] | None:
    """Return the lowest and the highest block with a deposit."""
    lowest, highest = await connection.one(_HEIGHTS, {"network": network})
    return None if lowest is None else (int(lowest), int(highest))


async def place_cursor(connection: Connection, network: str, header: Header) -> None:
    """Scan on from after this block, and forget what was carried forward: the blocks tell it better."""
    values = {"network": network, "height": header.height, "hash": header.hash, "time": header.time}
    await connection.execute(_PLACE, values)
    await connection.execute(_FORGET_TRANSFERS, {"network": network, "carried": f"{CARRIED}%"})
    await connection.execute(_FORGET_SWEEPS, {"network": network, "never": NEVER_TOLD})


async def carry_forward(
    connection: Connection, cursor: Cursor, wallet: Wallet, gateway: GatewayInfo, move: tuple[str, str, int]
) -> None:
    """Note what moved between a wallet and one of ours in blocks that are not scanned any more.

    Args:
        gateway: the gateway of what moved.
        move: from where, to where, and how much beside what our transfers tell.
    """
    sender, recipient, amount = move
    values = {"currency": gateway.currency, "gateway_id": gateway.id}
    if amount > 0:
        txid = f"{CARRIED}{gateway.id}:{sender}:{recipient}"
        place = {"network": wallet.network, "txid": txid, "height": cursor.height, "time": cursor.time}
        what = {"amount": amount, "from_address": sender, "to_address": recipient}
        await connection.execute(_CARRY, values | place | what)
    swept = {"wallet_id": wallet.id, "main_address": recipient, "never": NEVER_TOLD}
    if sender == wallet.address and recipient != BURNED:
        await connection.execute(_CARRY_SWEEPS, values | swept)
