"""Stake TRX of the fuel wallet for energy, which sweeps are lent: stored first, then sent until it is solid."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from common.crash import crash_point
from common.db import Connection
from common.errors import Conflict, InvalidInput
from payments.db import chain, outgoing, overview
from payments.domain.intents import NATIVE, Stake
from payments.domain.model import Purpose, Signed, TxState
from payments.domain.ports import Gateway
from payments.domain.rules import SUN
from payments.use_cases.context import Payments
from payments.use_cases.send_transaction import send, send_again

FEE_RESERVE_SUN = SUN
"""What the transaction itself may burn for bandwidth."""
LOOK_EVERY_S = 1.0
SEND_EVERY = 15
"""Looks between two broadcasts of the same bytes."""

Tell = Callable[[str], None]


class StakeOut(Conflict):
    """An earlier stake is on its way."""

    code = "stake_out"


@dataclass(frozen=True, slots=True)
class Staked:
    """How a stake ended, and what can be lent now."""

    txid: str
    state: TxState
    lendable_sun: int
    lendable_energy: int


async def stake_for_energy(parts: Payments, gateway: Gateway, sun: int, timeout: timedelta, tell: Tell) -> Staked:
    """Stake; return when the transaction is solid or dead, or when time is up.

    An earlier call's stake that is still on its way is followed to its end instead, and nothing else is staked.

    Raises:
        InvalidInput: when the fuel wallet does not hold so much.
        SignerRefused: when the signer refuses.
    """
    network, fuel = gateway.info.network, gateway.fuel_address
    async with parts.database.transaction() as connection:
        txid = await overview.stake_out(connection, network)
    if txid is not None:
        tell(f"an earlier stake is on its way: {txid}")
        return await _follow(parts, gateway, txid, timeout, tell)
    if sun < SUN:
        raise InvalidInput("TRX: at least 1 is staked")
    held = await gateway.chain.balance(NATIVE, fuel)
    if held < sun + FEE_RESERVE_SUN:
        raise InvalidInput(f"TRX: the fuel wallet {fuel} holds {held} sun; {sun + FEE_RESERVE_SUN} are needed")

    async def note(connection: Connection, _: Signed) -> None:
        await chain.lock_cursor(connection, network)  # of two calls at once one is first
        if await overview.stake_out(connection, network) is not None:
            raise StakeOut("another stake is on its way; try again when it is solid")

    signed = await send(parts, gateway, Purpose("stake", fuel), Stake(sun), note)
    crash_point("stake.sent")
    return await _follow(parts, gateway, signed.txid, timeout, tell)


async def _follow(parts: Payments, gateway: Gateway, txid: str, timeout: timedelta, tell: Tell) -> Staked:
    network, deadline, looks = gateway.info.network, parts.clock.now() + timeout, 0
    while True:
        async with parts.database.transaction() as connection:
            found = (await outgoing.by_txid(connection, network, [txid]))[txid]
        tell(f"{txid}: {found.state.value}")
        if found.state is not TxState.SENT or parts.clock.now() >= deadline:
            break
        looks += 1
        if looks % SEND_EVERY == 0:
            await send_again(parts, gateway, found)
        await asyncio.sleep(LOOK_EVERY_S)
    facts = await gateway.chain.facts(
        NATIVE, (gateway.fuel_address, gateway.main_address, 1), gateway.fuel_address
    )
    return Staked(txid, found.state, facts.lendable_sun, int(facts.lendable_sun * facts.energy_per_trx / SUN))
