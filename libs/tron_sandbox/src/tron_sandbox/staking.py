"""Stake 2.0: TRX is staked for bandwidth or energy, lent to others, taken back, and unstaked after a fortnight.

Checks and texts are java-tron's (FreezeBalanceV2Actuator and its neighbours).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tron_sandbox import addresses
from tron_sandbox.errors import ContractError
from tron_sandbox.world import (
    BANDWIDTH,
    ENERGY,
    SUN,
    TOTAL_LIMITS,
    TOTAL_WEIGHTS,
    Account,
    Change,
    Context,
    Loan,
    Unstaked,
    used_at,
)

UNSTAKE_MS = 14 * 24 * 3600 * 1000
MOST_UNSTAKED = 32
BLOCK_MS = 3000
LOCK_BLOCKS = 86_400
"""Three days: how long a loan is locked, where it is and nothing else is said."""
MOST_LOCK_BLOCKS = 864_000
NAMES = {BANDWIDTH: "BANDWIDTH", ENERGY: "ENERGY"}
_TITLES = {BANDWIDTH: "Bandwidth", ENERGY: "Energy"}


def lendable(account: Account, resource: int, now_ms: int) -> int:
    """Return how much of a stake can be lent, in sun: what is used up of it can't."""
    stake = account.stakes[resource]
    used = used_at(stake.used, stake.used_ms, now_ms)
    worth = -(-used * TOTAL_WEIGHTS[resource] * SUN // TOTAL_LIMITS[resource])
    beyond_acquired = max(0, worth - stake.acquired)
    return max(0, stake.frozen - beyond_acquired)


def _resource(contract: Any) -> int:
    if contract.resource not in NAMES:
        raise ContractError("ResourceCode error, valid ResourceCode[BANDWIDTH、ENERGY]")
    return int(contract.resource)


def _freeze(context: Context, owner: Account, contract: Any) -> Change:
    resource, sun = _resource(contract), contract.frozen_balance
    if sun <= 0:
        raise ContractError("frozenBalance must be positive")
    if sun < SUN:
        raise ContractError("frozenBalance must be greater than or equal to 1 TRX")
    if sun > owner.balance:
        raise ContractError("frozenBalance must be less than or equal to accountBalance")
    stake = owner.stakes[resource]
    paid = replace(owner, balance=owner.balance - sun)
    return {contract.owner_address: paid.with_stake(resource, replace(stake, frozen=stake.frozen + sun))}


def _unfreeze(context: Context, owner: Account, contract: Any) -> Change:
    resource, sun = _resource(contract), contract.unfreeze_balance
    stake = owner.stakes[resource]
    if stake.frozen == 0:
        raise ContractError(f"no frozenBalance({'Energy' if resource == ENERGY else 'BANDWIDTH'})")
    if not 0 < sun <= stake.frozen:
        raise ContractError(f"Invalid unfreeze_balance, [{sun}] is error")
    waiting = [u for u in owner.unstaked if u.due_ms > context.now_ms]
    if len(waiting) >= MOST_UNSTAKED:
        raise ContractError("Invalid unfreeze operation, unfreezing times is over limit")
    left = owner.with_stake(resource, replace(stake, frozen=stake.frozen - sun))
    back = sum(u.sun for u in owner.unstaked if u.due_ms <= context.now_ms)
    unstaked = (*waiting, Unstaked(resource, sun, context.now_ms + UNSTAKE_MS))
    return {contract.owner_address: replace(left, balance=left.balance + back, unstaked=unstaked)}


def _withdraw(context: Context, owner: Account, contract: Any) -> Change:
    back = sum(u.sun for u in owner.unstaked if u.due_ms <= context.now_ms)
    if back == 0:
        raise ContractError("no unFreeze balance to withdraw ")
    waiting = tuple(u for u in owner.unstaked if u.due_ms > context.now_ms)
    return {contract.owner_address: replace(owner, balance=owner.balance + back, unstaked=waiting)}


def _cancel(context: Context, owner: Account, contract: Any) -> Change:
    """Stake again what is not due yet, and pay out what is (CancelAllUnfreezeV2Actuator)."""
    if not owner.unstaked:
        raise ContractError("No unfreezeV2 list to cancel")
    back = sum(u.sun for u in owner.unstaked if u.due_ms <= context.now_ms)
    staked = replace(owner, balance=owner.balance + back, unstaked=())
    for one in owner.unstaked:
        if one.due_ms > context.now_ms:
            stake = staked.stakes[one.resource]
            staked = staked.with_stake(one.resource, replace(stake, frozen=stake.frozen + one.sun))
    return {contract.owner_address: staked}


def _delegate(context: Context, owner: Account, contract: Any) -> Change:
    resource, sun = _resource(contract), contract.balance
    giver, taker = contract.owner_address, contract.receiver_address
    if sun < SUN:
        raise ContractError("delegateBalance must be greater than or equal to 1 TRX")
    if sun > lendable(owner, resource, context.now_ms):
        kind = "FreezeEnergyV2" if resource == ENERGY else "FreezeBandwidthV2"
        raise ContractError(f"delegateBalance must be less than or equal to available {kind} balance")
    if giver == taker:
        raise ContractError("receiverAddress must not be the same as ownerAddress")
    receiver = context.world.get(taker)
    if receiver is None:
        raise ContractError(f"Account[{addresses.to_base58(taker)}] not exists")
    if receiver.contract is not None:
        raise ContractError("Do not allow delegate resources to contract addresses")
    blocks = (contract.lock_period or LOCK_BLOCKS) if contract.lock else 0
    if not 0 <= blocks <= MOST_LOCK_BLOCKS:
        raise ContractError(
            f"The lock period of delegate resource cannot be less than 0 and cannot exceed {MOST_LOCK_BLOCKS}!"
        )
    until = context.now_ms + blocks * BLOCK_MS if blocks else 0
    stake, theirs = owner.stakes[resource], receiver.stakes[resource]
    lent = replace(stake, frozen=stake.frozen - sun, delegated=stake.delegated + sun)
    loans = _lend(owner.loans, Loan(taker, resource, sun, until))
    lenders = receiver.lenders if giver in receiver.lenders else (*receiver.lenders, giver)
    borrowed = receiver.with_stake(resource, replace(theirs, acquired=theirs.acquired + sun))
    return {
        giver: replace(owner.with_stake(resource, lent), loans=loans),
        taker: replace(borrowed, lenders=lenders),
    }


def _lend(loans: tuple[Loan, ...], new: Loan) -> tuple[Loan, ...]:
    """Add a loan to the one of the same kind, if there is one: locked ones and free ones are kept apart."""
    for place, loan in enumerate(loans):
        same = (loan.receiver, loan.resource) == (new.receiver, new.resource)
        if same and bool(loan.locked_until_ms) == bool(new.locked_until_ms):
            until = max(loan.locked_until_ms, new.locked_until_ms)
            merged = replace(loan, sun=loan.sun + new.sun, locked_until_ms=until)
            return (*loans[:place], merged, *loans[place + 1 :])
    return (*loans, new)


def _undelegate(context: Context, owner: Account, contract: Any) -> Change:
    resource, sun = _resource(contract), contract.balance
    giver, taker = contract.owner_address, contract.receiver_address
    ours = [loan for loan in owner.loans if (loan.receiver, loan.resource) == (taker, resource)]
    if not ours:
        raise ContractError("delegated Resource does not exist")
    if sun <= 0:
        raise ContractError("unDelegateBalance must be more than 0 TRX")
    free = sum(loan.sun for loan in ours if loan.locked_until_ms <= context.now_ms)
    if sun > free:
        title = _TITLES[resource]
        raise ContractError(f"insufficient delegatedFrozenBalance({title}), request={sun}, unlock_balance={free}")
    stake = owner.stakes[resource]
    returned = replace(stake, frozen=stake.frozen + sun, delegated=stake.delegated - sun)
    loans = _take_back(owner.loans, taker, resource, sun, context.now_ms)
    change: Change = {}
    receiver = context.world.get(taker)
    if receiver is not None:
        theirs = receiver.stakes[resource]
        used = used_at(theirs.used, theirs.used_ms, context.now_ms)
        ours_of_it = min(used * sun // (theirs.frozen + theirs.acquired), used) if used else 0
        less = replace(theirs, acquired=theirs.acquired - sun, used=used - ours_of_it, used_ms=context.now_ms)
        lenders = receiver.lenders
        if not any(loan.receiver == taker for loan in loans):
            lenders = tuple(lender for lender in lenders if lender != giver)
        change[taker] = replace(receiver.with_stake(resource, less), lenders=lenders)
        returned = returned.use(ours_of_it, context.now_ms)
    return {giver: replace(owner.with_stake(resource, returned), loans=loans), **change}


def _take_back(loans: tuple[Loan, ...], taker: bytes, resource: int, sun: int, now_ms: int) -> tuple[Loan, ...]:
    left, found = sun, list[Loan]()
    for loan in loans:
        if (loan.receiver, loan.resource) == (taker, resource) and loan.locked_until_ms <= now_ms:
            taken = min(left, loan.sun)
            left -= taken
            if loan.sun > taken:
                found.append(replace(loan, sun=loan.sun - taken))
        else:
            found.append(loan)
    return tuple(found)


Act = Callable[[Context, Account, Any], Change]

ACTS: dict[str, Act] = {
    "FreezeBalanceV2Contract": _freeze,
    "UnfreezeBalanceV2Contract": _unfreeze,
    "WithdrawExpireUnfreezeContract": _withdraw,
    "CancelAllUnfreezeV2Contract": _cancel,
    "DelegateResourceContract": _delegate,
    "UnDelegateResourceContract": _undelegate,
}
