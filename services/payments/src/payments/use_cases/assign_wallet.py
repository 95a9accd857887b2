"""Give an address without an owner, and the money that reached it, to a user."""

from common import outbox
from payments.db import chain, payments, restore
from payments.domain import events
from payments.domain.errors import AddressNotFound, InvalidPayment, UserNotFound
from payments.use_cases.context import Payments


async def assign_wallet(parts: Payments, address: str, owner: tuple[int, int], gateway_id: str) -> int:
    """Make a wallet of the address; return how many deposits are told for the user to be credited.

    Args:
        owner: the tenant and the user.

    Raises:
        InvalidPayment: when there is no such gateway.
        UserNotFound: when the tenant has no such user.
        AddressNotFound: when the address is not ours, or has an owner.
    """
    gateway = parts.gateways.get(gateway_id)
    if gateway is None:
        raise InvalidPayment(f"there is no gateway {gateway_id!r}")
    if not await parts.accounts.user_exists(*owner):
        raise UserNotFound(f"there is no user {owner[1]} in tenant {owner[0]}")
    network = gateway.info.network
    async with parts.database.transaction() as connection:
        # What the scanner is storing for this address is seen by `explain`, or finds the wallet.
        if await chain.cursor(connection, network) is not None:
            await chain.lock_cursor(connection, network)
        index = await restore.claim(connection, network, address)
        if index is None:
            raise AddressNotFound(f"{address} is no address of ours without an owner")
        wallet = await payments.insert_wallet(connection, owner, (gateway_id, network), index, address)
        found = await restore.explain(connection, wallet)
        if found:
            await payments.set_wallet_status(connection, wallet.id, "received")
        await outbox.append(connection, [events.received(deposit, time) for deposit, time in found])
    parts.told()
    return len(found)
