"""Our wallets' balances on the chain against our stored transfers and fees: our own, and some others a pass."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from payments.db import books, chain, proofs
from payments.db.books import WalletBook
from payments.db.chain import Cursor
from payments.db.proofs import OwnSum
from payments.domain.errors import NodeUnavailable
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments, asset_of

WALLETS_A_PASS = 20
"""The budget of node calls: wallets take turns."""

Item = dict[str, str]


@dataclass(frozen=True, slots=True)
class Books:
    """What wallets should have at the cursor's block."""

    began: datetime
    cursor: Cursor | None
    own: Sequence[OwnSum]
    again: Sequence[WalletBook]
    """Those that were wrong the last time."""
    turn: Sequence[WalletBook]

    @property
    def wallets(self) -> list[WalletBook]:
        """All of them, each once."""
        known = {one.id: one for one in [*self.again, *self.turn]}
        return [*(one.book for one in self.own), *known.values()]


async def wallets_unlike_chain(parts: Payments, gateway: Gateway) -> list[Item]:
    """Return the wallets whose solid balance is not what we stored.

    A look is worth something only while the node's solid head is the block that our cursor is at.
    """
    found = await _read(parts, gateway)
    if found.cursor is None or not found.wallets:
        return []
    looked: dict[str, Item | None] = {}
    with contextlib.suppress(NodeUnavailable):  # what was not looked at is the next pass's
        await _compare_at(gateway, found.cursor.hash, found.wallets, looked)
    await _keep(parts, gateway, found, looked)
    return [item for item in looked.values() if item]


async def _read(parts: Payments, gateway: Gateway) -> Books:
    info, asset = gateway.info, asset_of(gateway)
    async with parts.database.snapshot() as connection:
        began = await proofs.now(connection)
        turn = int(await proofs.mark(connection, _turn(gateway), "0"))
        suspects = await proofs.suspects(connection, _turn(gateway), WALLETS_A_PASS)
        return Books(
            began=began,
            cursor=await chain.cursor(connection, info.network),
            own=await proofs.own_sums(connection, asset, began),
            again=await books.wallets_at(connection, asset, suspects),
            turn=await books.wallets(connection, asset, turn, WALLETS_A_PASS),
        )


def _turn(gateway: Gateway) -> str:
    return f"wallets {gateway.info.id}"


async def _compare_at(
    gateway: Gateway, block_hash: str, wallets: Sequence[WalletBook], looked: dict[str, Item | None]
) -> None:
    for wallet in wallets:
        on_chain = await gateway.chain.balance(gateway.asset, wallet.address)
        if (await gateway.chain.solid_head()).hash != block_hash:
            return
        item = {
            "address": wallet.address,
            "currency": gateway.info.currency,
            "chain_units": str(on_chain),
            "stored_units": str(wallet.units),
        }
        looked[wallet.address] = item if on_chain != wallet.units else None


async def _keep(parts: Payments, gateway: Gateway, found: Books, looked: dict[str, Item | None]) -> None:
    """Keep where the turn is, what to look at again, and sums of what has settled.

    A sum that the chain contradicts is made anew, of the whole history, the next time.
    """
    asset, own = asset_of(gateway), {one.book.address for one in found.own}
    others = looked.keys() - own
    wrong = {address for address in others if looked[address]}
    done = [wallet.id for wallet in found.turn if wallet.address in looked]
    around = len(done) == len(found.turn) < WALLETS_A_PASS
    async with parts.database.transaction() as connection:
        if around or done:
            await proofs.set_mark(connection, _turn(gateway), "0" if around else str(done[-1]))
        await proofs.suspect(connection, _turn(gateway), wrong, others - wrong)
        for one in found.own:
            if looked.get(one.book.address):
                await proofs.forget_sum(connection, asset, one.book.address)
            else:
                await proofs.set_sum(connection, asset, one, found.began)
