"""Sign an intent within the signer's limits. What is counted is committed before the signature leaves.

A payout has one living transaction at a time: asked again, the signer answers with the last one, until the
reference block has passed its expiration and it can't come into a block any more. So a worker that lost the answer
gets it again, and one that lies can't have a withdrawal paid many times at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from common.clock import Clock
from common.db import Connection, Database
from common.logging import get_logger
from payments.db import signed as rows
from payments.domain.errors import LimitReached, SignerRefused
from payments.domain.intents import Intent, Payout
from payments.domain.limits import (
    Limits,
    check_reference,
    check_same,
    check_spent,
    check_tries,
    fees,
    paid_out,
)
from payments.domain.model import Header, Signed

log = get_logger()

TIMESTAMP_TRIES = 20


@dataclass(frozen=True, slots=True)
class Signing:
    """The parts of the signer; `build` builds an intent's transaction and signs it, within its bounds."""

    database: Database
    build: Callable[[Intent, Header, int], Signed]
    clock: Clock
    limits: Limits


async def sign_intent(parts: Signing, intent: Intent, reference: Header, timestamp_ms: int) -> Signed:
    """Sign an intent and return the transaction.

    Raises:
        SignerRefused: when it is out of bounds.
        LimitReached: when a limit would be passed.
    """
    kind = type(intent).__name__.lower()
    try:
        check_reference(reference, parts.clock.now(), parts.limits)
        signed = await _counted(parts, intent, reference, timestamp_ms)
    except SignerRefused as error:
        log.warning("intent.refused", kind=kind, why=error.detail)
        raise
    log.info("intent.signed", kind=kind, txid=signed.txid)
    return signed


async def _counted(parts: Signing, intent: Intent, reference: Header, timestamp_ms: int) -> Signed:
    fee = fees(intent, parts.clock.now(), parts.limits)
    if fee is None and not isinstance(intent, Payout):
        return parts.build(intent, reference, timestamp_ms)
    async with parts.database.transaction() as connection:
        if isinstance(intent, Payout):
            return await _pay_out(parts, connection, intent, (reference, timestamp_ms))
        assert fee is not None, "what is neither a payout nor fuel was signed above"
        signed = parts.build(intent, reference, timestamp_ms)
        check_spent(fee, await rows.spend(connection, fee))
    return signed


async def _pay_out(parts: Signing, connection: Connection, payout: Payout, moment: tuple[Header, int]) -> Signed:
    known = await rows.lock_payout(connection, payout)
    check_same(payout, known)
    if known.last is not None and moment[0].time < known.last.expires_at:
        return known.last
    check_tries(payout, known, parts.limits)
    now = parts.clock.now()
    signed = await _build_alone(parts, connection, payout, moment)
    day = paid_out(payout, now, parts.limits)
    if known.tries == 0:  # what is signed anew because its transaction died is the same payout
        check_spent(day, await rows.spend(connection, day))
    fee = fees(payout, now, parts.limits)
    if fee is not None:
        check_spent(fee, await rows.spend(connection, fee))
    await rows.keep(connection, payout.withdrawal_id, signed)
    return signed


async def _build_alone(
    parts: Signing, connection: Connection, payout: Payout, moment: tuple[Header, int]
) -> Signed:
    """Sign a transaction that no other withdrawal has: equal ones of one millisecond have one id."""
    reference, timestamp_ms = moment
    for later in range(TIMESTAMP_TRIES):
        signed = parts.build(payout, reference, timestamp_ms + later)
        if not await rows.is_another(connection, payout.withdrawal_id, signed.txid):
            return signed
    raise LimitReached("too many equal payouts in one millisecond; ask again")
