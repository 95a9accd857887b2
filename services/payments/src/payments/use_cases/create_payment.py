"""Create a payment: a wallet of the user's own to pay to, and how long it waits."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from common import outbox
from common.crash import crash_point
from common.db import Connection
from common.errors import Unavailable
from common.idempotency import Retry, begin, keep
from payments.db import payments
from payments.db.chain import Cursor
from payments.db.payments import WalletTaken
from payments.domain import events
from payments.domain.errors import InvalidPayment, UserNotFound
from payments.domain.model import Payment, Wallet
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments
from payments.use_cases.scan_chain import begin_scanning

TRIES = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What a payment is asked for: the tenant and the user, the gateway, and the amount in smallest units."""

    owner: tuple[int, int]
    gateway_id: str
    currency: str
    amount: int


async def create_payment(
    parts: Payments, asked: Asked, retry: Retry | None, show: Callable[[Payment], BaseModel]
) -> Payment:
    """Store the payment and return it.

    Args:
        retry: the call's idempotency key, if it has one.
        show: renders the answer that is kept for a retry.

    Raises:
        InvalidPayment: when the gateway is unknown or does not take the currency.
        UserNotFound: when the tenant has no such user.
        Unavailable: when accounts can't be asked about a user never seen before, or no block was ever scanned
            and no node answers.
    """
    gateway = parts.gateways.get(asked.gateway_id)
    if gateway is None:
        raise InvalidPayment(f"there is no gateway {asked.gateway_id!r}; GET /payment/gateways lists them")
    if asked.currency != gateway.info.currency:
        raise InvalidPayment(f"{asked.gateway_id} takes {gateway.info.currency}, not {asked.currency}")
    if not await parts.accounts.user_exists(*asked.owner):
        raise UserNotFound(f"there is no user {asked.owner[1]}")
    cursor = await begin_scanning(parts, gateway)
    known = (await _head_height(gateway), cursor)
    for _ in range(TRIES):
        try:
            payment = await _store(parts, gateway, asked, known, (retry, show))
        except WalletTaken:
            continue
        crash_point("payment.stored")
        parts.told()
        return payment
    raise Unavailable("the user's wallets are contended; try again")


async def _head_height(gateway: Gateway) -> int | None:
    """Return the head, or None while no node answers: the payment gets a wallet that never had one then."""
    try:
        return await gateway.chain.head_height()
    except Unavailable:
        return None


async def _store(
    parts: Payments,
    gateway: Gateway,
    asked: Asked,
    known: tuple[int | None, Cursor],
    once: tuple[Retry | None, Callable[[Payment], BaseModel]],
) -> Payment:
    """Store the payment with a wallet; `known` is the chain's head, where a node tells it, and the cursor."""
    now, (head, cursor), (retry, show) = parts.clock.now(), known, once
    async with parts.database.transaction() as connection:
        await begin(connection, asked.owner[0], retry)
        wallet = await _wallet(connection, gateway, asked.owner, new=head is None)
        # Without the head the wallet is new: no older payment's deposit could be on the way to it.
        height = cursor.height if head is None else head
        money = (asked.currency, asked.amount)
        # It expires by the chain's time: a clock of ours that is behind takes none of its lifetime.
        expires_at = max(now, cursor.time) + parts.policy.payment_lifetime
        payment = await payments.insert(connection, wallet, money, height, now, expires_at)
        await outbox.append(connection, [events.status_reached(payment)])
        await keep(connection, asked.owner[0], retry, show(payment))
    return payment


async def _wallet(connection: Connection, gateway: Gateway, owner: tuple[int, int], *, new: bool) -> Wallet:
    """Return an idle wallet of the user, or a new one."""
    info = gateway.info
    if not new:
        idle = await payments.idle_wallet(connection, *owner, info.id)
        if idle is not None:
            return idle
    index = await payments.next_index(connection)
    address = gateway.addresses.deposit_address(index)
    return await payments.insert_wallet(connection, owner, (info.id, info.network), index, address)
