"""Ask for a withdrawal: judge it, store it, and hold the money in the ledger before anything leaves."""

from dataclasses import dataclass, replace
from datetime import timedelta

from common import outbox
from common.crash import crash_point
from common.db import Connection
from common.errors import Unavailable
from common.idempotency import KeyReused, Retry, begin
from payments.db import outgoing, payments, restore, withdrawals
from payments.domain import events
from payments.domain.errors import (
    IllegalDecision,
    InsufficientFunds,
    InvalidWithdrawal,
    UserNotFound,
    WithdrawalLimit,
    WithdrawalNotFound,
)
from payments.domain.model import TxState, Withdrawal, WithdrawalStatus
from payments.domain.ports import Gateway
from payments.use_cases.advance_withdrawals import LEASE, LedgerRefused, hold
from payments.use_cases.context import Payments

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: whose money, by which gateway, how much in smallest units, where to, with which key."""

    owner: tuple[int, int]
    gateway_id: str
    currency: str
    amount: int
    address: str
    key_id: int


async def request_withdrawal(parts: Payments, asked: Asked, retry: Retry | None) -> Withdrawal:
    """Store the withdrawal and hold its money; return it as it is then.

    Where the ledger does not answer, it is returned as `requested` and goes on by itself.

    Raises:
        InvalidWithdrawal: when the gateway, the currency, the amount or the address can't be.
        UserNotFound: when the tenant has no such user.
        WithdrawalLimit: when the key's limit of a day would be passed.
        InsufficientFunds: when the user does not have the money.
        Unavailable: when accounts can't be asked about a user never seen before.
    """
    gateway = parts.gateways.get(asked.gateway_id)
    if gateway is None:
        raise InvalidWithdrawal(f"there is no gateway {asked.gateway_id!r}; GET /payment/gateways lists them")
    if asked.currency != gateway.info.currency:
        raise InvalidWithdrawal(f"{asked.gateway_id} pays {gateway.info.currency}, not {asked.currency}")
    limits = parts.policy.withdrawals.get(asked.currency)
    if limits is None:
        raise InvalidWithdrawal(f"{asked.currency} is not paid out (WITHDRAWAL_LIMITS)")
    most = limits.most
    if asked.amount > most:
        raise InvalidWithdrawal(f"amount: more than {most} units, the most of one withdrawal (WITHDRAWAL_LIMITS)")
    if not await parts.accounts.user_exists(*asked.owner):
        raise UserNotFound(f"there is no user {asked.owner[1]}")
    try:
        withdrawal = await _store(parts, gateway, asked, retry)
    except withdrawals.RequestKnown as error:  # keys are forgotten after a month, withdrawals never
        raise KeyReused("this Idempotency-Key made a withdrawal long ago; use a new key for a new one") from error
    crash_point("withdrawal.requested")
    parts.told()
    if withdrawal.status is WithdrawalStatus.REQUESTED:
        try:
            withdrawal = await hold(parts, withdrawal)
        except (
            Unavailable,
            LedgerRefused,
        ):  # it is stored: the worker goes on, and reports what the ledger refuses
            return withdrawal
        async with parts.database.transaction() as connection:  # the worker goes on with it at once
            await withdrawals.postpone(connection, withdrawal.id, parts.clock.now(), None)
    if withdrawal.status is WithdrawalStatus.REJECTED:
        raise InsufficientFunds(f"withdrawal {withdrawal.id}: the user's balance is smaller than the amount")
    return withdrawal


async def _store(parts: Payments, gateway: Gateway, asked: Asked, retry: Retry | None) -> Withdrawal:
    """Store the withdrawal, or find the one that the same call made before."""
    now, limits = parts.clock.now(), parts.policy.withdrawals[asked.currency]
    async with parts.database.transaction() as connection:
        if not await begin(connection, asked.owner[0], retry):
            assert retry is not None
            known = await withdrawals.by_request_key(connection, asked.owner[0], retry.key)
            assert known is not None, "the key and its withdrawal are stored together"
            return known
        await _check_address(connection, parts, gateway, asked.address)
        before = await withdrawals.requested_since(connection, asked.key_id, asked.currency, now - DAY)
        if before + asked.amount > limits.per_day:
            raise WithdrawalLimit(
                f"this key has asked for {before} units within a day and may ask for {limits.per_day}"
                " (WITHDRAWAL_LIMITS)"
            )
        needs_approval = limits.approval_above is not None and asked.amount > limits.approval_above
        move = (asked.gateway_id, asked.currency, asked.amount, asked.address)
        by = (asked.key_id, retry.key if retry else None, needs_approval)
        made = await withdrawals.insert(connection, asked.owner, move, by, (now, now + LEASE))
        await outbox.append(connection, [events.withdrawal_reached(made)])
    return made


async def _check_address(connection: Connection, parts: Payments, gateway: Gateway, address: str) -> None:
    """Refuse what is no address, and what is ours: money that went there would come back as somebody's deposit."""
    if not gateway.chain.is_address(address):
        raise InvalidWithdrawal("address: is no address of this network, or its checksum is wrong")
    network = gateway.info.network
    siblings = [g for g in parts.gateways.values() if g.info.network == network]
    ours = {a for g in siblings for a in (g.main_address, g.fuel_address)}
    wallets = await payments.wallets_by_address(connection, network, [address])
    if address in ours or wallets or await restore.ownerless(connection, network, [address]):
        raise InvalidWithdrawal("address: is a wallet of this very system")
    if address in {g.asset for g in siblings}:
        raise InvalidWithdrawal("address: is a token's contract; what is sent there is lost")


async def approve_withdrawal(parts: Payments, tenant_id: int, withdrawal_id: int, key_id: int) -> Withdrawal:
    """Let a withdrawal go that waits for approval; approving it again changes nothing.

    Raises:
        WithdrawalNotFound: when the tenant has no such withdrawal.
        IllegalDecision: when it does not wait for approval, or by the key that asked for it.
    """
    async with parts.database.transaction() as connection:
        found = await _lock(connection, tenant_id, withdrawal_id)
        if found.approved_by == key_id:
            return found
        if found.requested_by == key_id:
            raise IllegalDecision("the key that asked for a withdrawal can't approve it")
        if found.status is not WithdrawalStatus.AWAITING_APPROVAL:
            raise IllegalDecision(f"withdrawal {found.id} is {found.status.value} and waits for no approval")
        now = parts.clock.now()
        found = replace(found, status=WithdrawalStatus.QUEUED, approved_by=key_id, updated_at=now)
        await withdrawals.save(connection, found)
        await withdrawals.postpone(connection, found.id, now, None)
    return found


async def cancel_withdrawal(parts: Payments, tenant_id: int, withdrawal_id: int, reason: str) -> Withdrawal:
    """Give the money back while nothing is out: nothing was signed, or it is dead. Again it changes nothing.

    Raises:
        WithdrawalNotFound: when the tenant has no such withdrawal.
        IllegalDecision: when its transaction may still come, or it is at its end.
    """
    async with parts.database.transaction() as connection:
        found = await _lock(connection, tenant_id, withdrawal_id)
        if found.ends_as is WithdrawalStatus.CANCELLED:
            return found
        last = await outgoing.last_of_withdrawal(connection, found.id)
        dead = found.status is WithdrawalStatus.SENT and last is not None and last.state is TxState.DEAD
        if not dead and found.status not in (WithdrawalStatus.AWAITING_APPROVAL, WithdrawalStatus.QUEUED):
            raise IllegalDecision(f"withdrawal {found.id} is {found.status.value} and can't be cancelled")
        now, ends_as = parts.clock.now(), WithdrawalStatus.CANCELLED
        found = replace(found, status=WithdrawalStatus.RETURNING, ends_as=ends_as, reason=reason, updated_at=now)
        await withdrawals.save(connection, found)
        await withdrawals.postpone(connection, found.id, now, None)
    return found


async def _lock(connection: Connection, tenant_id: int, withdrawal_id: int) -> Withdrawal:
    if await withdrawals.read(connection, tenant_id, withdrawal_id) is None:
        raise WithdrawalNotFound(f"there is no withdrawal {withdrawal_id}")
    return await withdrawals.lock(connection, withdrawal_id)
