"""Create a payment: a wallet of the user's own to pay to, and how long it waits."""

from common import outbox
from common.crash import crash_point
from common.errors import Unavailable
from payments.db import payments
from payments.db.payments import WalletTaken
from payments.domain import events
from payments.domain.errors import InvalidPayment, UserNotFound
from payments.domain.model import Payment
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments
from payments.use_cases.scan_chain import begin_scanning

TRIES = 5


async def create_payment(
    parts: Payments, owner: tuple[int, int], gateway_id: str, money: tuple[str, int]
) -> Payment:
    """Store the payment and return it.

    Args:
        owner: the tenant and the user.
        money: the currency and the amount in smallest units.

    Raises:
        InvalidPayment: when the gateway is unknown or does not take the currency.
        UserNotFound: when the tenant has no such user.
        Unavailable: when accounts can't be asked about a user never seen before, or no block was ever scanned
            and no node answers.
    """
    gateway = parts.gateways.get(gateway_id)
    if gateway is None:
        raise InvalidPayment(f"there is no gateway {gateway_id!r}; GET /payment/gateways lists them")
    if money[0] != gateway.info.currency:
        raise InvalidPayment(f"{gateway_id} takes {gateway.info.currency}, not {money[0]}")
    if not await parts.accounts.user_exists(*owner):
        raise UserNotFound(f"there is no user {owner[1]}")
    cursor = await begin_scanning(parts, gateway)
    head = await _head_height(gateway)
    for _ in range(TRIES):
        try:
            return await _store(parts, gateway, owner, money, (head, cursor.height))
        except WalletTaken:
            continue
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
    owner: tuple[int, int],
    money: tuple[str, int],
    heights: tuple[int | None, int],
) -> Payment:
    """Store the payment with a wallet; `heights` are the chain's head, where it is known, and the cursor's."""
    now, info = parts.clock.now(), gateway.info
    head, scanned = heights
    async with parts.database.transaction() as connection:
        wallet = None
        if head is not None:
            wallet = await payments.idle_wallet(connection, *owner, info.id)
        if wallet is None:
            index = await payments.next_index(connection)
            address = gateway.addresses.deposit_address(index)
            wallet = await payments.insert_wallet(connection, owner, (info.id, info.network), index, address)
        # Without the head the wallet is new: no older payment's deposit could be on the way to it.
        height = scanned if head is None else head
        expires_at = now + parts.policy.payment_lifetime
        payment = await payments.insert(connection, wallet, money, height, now, expires_at)
        await outbox.append(connection, [events.status_reached(payment)])
    crash_point("payment.stored")
    parts.told()
    return payment
