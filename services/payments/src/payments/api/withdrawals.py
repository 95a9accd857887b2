"""What marketplaces call to pay users out."""

from typing import Annotated

from fastapi import Depends, Query, Response

from common.auth import Principal, require
from common.idempotency import KeyInFlight, Once
from common.ids import MAX_ID
from common.money import AmountError, Currencies
from common.web import Configured, Id, answers, router
from payments.api.public import Parts
from payments.api.schemas import WithdrawalIn, WithdrawalOut, WithdrawalPage
from payments.domain.errors import (
    IllegalDecision,
    InsufficientFunds,
    InvalidWithdrawal,
    UserNotFound,
    WithdrawalLimit,
    WithdrawalNotFound,
)
from payments.domain.model import Withdrawal, WithdrawalStatus
from payments.use_cases.read_payments import list_withdrawals, read_withdrawal
from payments.use_cases.request_withdrawal import (
    Asked,
    approve_withdrawal,
    cancel_withdrawal,
    request_withdrawal,
)

routes = router(prefix="/api/v1/payment/withdrawal", tags=["withdrawals"])

Reader = Annotated[Principal, Depends(require("default", "arbiter", "withdraw", "approve"))]
Withdrawer = Annotated[Principal, Depends(require("withdraw"))]
Approver = Annotated[Principal, Depends(require("approve"))]
PAGE = 100


def show(withdrawal: Withdrawal, currencies: Currencies) -> WithdrawalOut:
    """Show a withdrawal."""
    currency = currencies.get(withdrawal.currency)
    assert currency is not None, f"{withdrawal.currency} was configured once and must stay (CURRENCIES)"
    return WithdrawalOut.of(withdrawal, currency)


ASKED = {
    **answers(UserNotFound, InsufficientFunds, WithdrawalLimit, KeyInFlight),
    202: {"model": WithdrawalOut, "description": "The ledger has not answered yet; ask again"},
}


@routes.post("", responses=ASKED)
async def request_a_withdrawal(
    body: WithdrawalIn,
    who: Withdrawer,
    parts: Parts,
    currencies: Configured,
    once: Once,
    response: Response,
) -> WithdrawalOut:
    """Pay a user's money out; 202 while the ledger has not answered yet. Send an `Idempotency-Key`."""
    currency = currencies.get(body.currency)
    if currency is None:
        raise InvalidWithdrawal(f"the currency {body.currency} is not one of the configured ones")
    try:
        units = currency.to_units(body.amount)
    except AmountError as error:
        raise InvalidWithdrawal(f"amount: {error}") from error
    owner = (who.tenant_id, body.user_id)
    asked = Asked(owner, body.gateway_id, currency.code, units, body.address, who.key_id)
    withdrawal = await request_withdrawal(parts, asked, once)
    if withdrawal.status is WithdrawalStatus.REQUESTED:
        response.status_code = 202
    return show(withdrawal, currencies)


@routes.get("", responses=answers())
async def list_the_withdrawals(
    who: Reader,
    parts: Parts,
    currencies: Configured,
    user_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    status: Annotated[WithdrawalStatus | None, Query()] = None,
    before: Annotated[int, Query(ge=1, le=MAX_ID, description="the `next` of the page before")] = MAX_ID,
) -> WithdrawalPage:
    """List withdrawals, newest first."""
    only = (user_id, status.value if status else None)
    found = await list_withdrawals(parts.database, who.tenant_id, before, only, PAGE)
    after = found[-1].id if len(found) == PAGE else None
    return WithdrawalPage(withdrawals=[show(w, currencies) for w in found], next=after)


@routes.get("/{withdrawal_id}", responses=answers(WithdrawalNotFound))
async def read_a_withdrawal(withdrawal_id: Id, who: Reader, parts: Parts, currencies: Configured) -> WithdrawalOut:
    """Read a withdrawal."""
    return show(await read_withdrawal(parts.database, who.tenant_id, withdrawal_id), currencies)


@routes.post("/{withdrawal_id}/approve", responses=answers(WithdrawalNotFound, IllegalDecision))
async def approve_a_withdrawal(
    withdrawal_id: Id, who: Approver, parts: Parts, currencies: Configured
) -> WithdrawalOut:
    """Let a withdrawal go that waits for approval; not by the key that asked for it."""
    return show(await approve_withdrawal(parts, who.tenant_id, withdrawal_id, who.key_id), currencies)


@routes.post("/{withdrawal_id}/cancel", responses=answers(WithdrawalNotFound, IllegalDecision))
async def cancel_a_withdrawal(
    withdrawal_id: Id,
    who: Annotated[Principal, Depends(require("withdraw", "approve"))],
    parts: Parts,
    currencies: Configured,
) -> WithdrawalOut:
    """Give the money back to the user's balance, while nothing was signed."""
    reason = f"cancelled by key {who.key_id}"
    return show(await cancel_withdrawal(parts, who.tenant_id, withdrawal_id, reason), currencies)
