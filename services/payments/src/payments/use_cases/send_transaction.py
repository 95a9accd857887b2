"""Sign an intent, store it, and only then send it: the one way in which a transaction of ours leaves.

Two equal intents in one millisecond are one transaction to the chain, so the timestamp moves until the id is new.
No answer of a broadcast decides anything: the scanner sees the transaction in a solid block, or our own cursor
passes its expiration without it, and then it is dead.
"""

from collections.abc import Awaitable, Callable

from common.crash import crash_point
from common.db import Connection
from common.logging import get_logger
from payments.db import chain, outgoing
from payments.db.outgoing import TxidTaken
from payments.domain.errors import NodeUnavailable
from payments.domain.intents import Intent
from payments.domain.model import Outgoing, Purpose, Signed
from payments.domain.ports import Gateway
from payments.use_cases.context import Payments

log = get_logger()

TIMESTAMP_TRIES = 50

Noting = Callable[[Connection, Signed], Awaitable[None]]


async def send(parts: Payments, gateway: Gateway, purpose: Purpose, intent: Intent, note: Noting) -> Signed:
    """Sign, store and broadcast.

    Args:
        note: is called in the transaction that stores what was signed, before it is stored: it locks what the
            transaction is for, and raises where another process was first.

    Raises:
        NodeUnavailable: when no block to refer to can be read. A broadcast that fails raises nothing.
    """
    reference = await gateway.chain.solid_head()
    timestamp_ms = int(parts.clock.now().timestamp() * 1000)
    last: str | None = None
    for later in range(TIMESTAMP_TRIES):
        signed = await parts.signer.sign(intent, reference, timestamp_ms + later)
        if signed.txid == last:  # the signer keeps to a payout's last transaction until its block is past it
            raise NodeUnavailable(f"{last} is dead by our cursor and not yet by {reference.height}; soon it is")
        last = signed.txid
        try:
            async with parts.database.transaction() as connection:
                await note(connection, signed)
                await outgoing.store(connection, purpose, gateway.info.network, signed, parts.clock.now())
            break
        except TxidTaken:
            if later == TIMESTAMP_TRIES - 1:
                raise
    crash_point("outgoing.signed")
    await _broadcast(gateway, purpose.name, signed)
    crash_point("outgoing.sent")
    return signed


async def send_again(parts: Payments, gateway: Gateway, found: Outgoing) -> bool:
    """Send the same bytes again, or bury the transaction when it can't come any more; tell whether it is dead."""
    async with parts.database.transaction() as connection:
        cursor = await chain.cursor(connection, gateway.info.network)
        dead = cursor is not None and cursor.time >= found.expires_at
        buried = dead and await outgoing.bury(connection, found)
    if buried:
        crash_point("transaction.buried")
        return True
    await _broadcast(gateway, found.purpose.name, Signed(found.txid, found.signed, found.expires_at))
    return False


async def _broadcast(gateway: Gateway, purpose: str, signed: Signed) -> None:
    try:
        words = await gateway.chain.broadcast(signed.signed)
    except NodeUnavailable as error:  # it may have arrived: the same bytes go out again
        words = str(error)
    log.info("transaction.sent", purpose=purpose, txid=signed.txid, node=words)
