"""What marketplaces call: gateways and payments."""

from typing import Annotated

from fastapi import Depends, Request

from common.auth import Principal, require
from common.idempotency import KeyInFlight, Once
from common.money import AmountError, Currencies
from common.web import Configured, Id, answers, router
from payments.api.schemas import ArrivalOut, GatewayOut, PaymentIn, PaymentOut
from payments.domain.errors import InvalidPayment, PaymentNotFound, UserNotFound
from payments.domain.model import Payment, Sight
from payments.use_cases.context import Payments
from payments.use_cases.create_payment import Asked, create_payment
from payments.use_cases.read_payments import read_arrivals, read_payment

routes = router(prefix="/api/v1/payment", tags=["payments"])

Reader = Annotated[Principal, Depends(require("default", "arbiter"))]
Writer = Annotated[Principal, Depends(require("default"))]

NOTHING_YET = Sight()
"""What the payer of a new payment sees."""


async def _parts(request: Request) -> Payments:
    parts: Payments = request.app.state.parts
    return parts


Parts = Annotated[Payments, Depends(_parts)]


def show(payment: Payment, parts: Payments, currencies: Currencies, sight: Sight = NOTHING_YET) -> PaymentOut:
    """Show a payment, and what its payer sees of the head."""
    currency = currencies.get(payment.currency)
    assert currency is not None, f"{payment.currency} was configured once and must stay (CURRENCIES)"
    return PaymentOut.of(payment, parts.gateways.get(payment.gateway_id), currency, sight)


@routes.get("/gateways", responses=answers())
async def list_gateways(_: Reader, parts: Parts) -> list[GatewayOut]:
    """List the gateways that one can pay through."""
    return [
        GatewayOut(id=i.id, name=i.name, network=i.network, currencies=[i.currency])
        for i in (gateway.info for gateway in parts.gateways.values())
    ]


@routes.post("", responses=answers(UserNotFound, KeyInFlight))
async def create_a_payment(
    body: PaymentIn, who: Writer, parts: Parts, currencies: Configured, once: Once
) -> PaymentOut:
    """Create a payment; `gateway_data` says where the user pays."""
    currency = currencies.get(body.currency)
    if currency is None:
        raise InvalidPayment(f"the currency {body.currency} is not one of the configured ones")
    try:
        units = currency.to_units(body.amount)
    except AmountError as error:
        raise InvalidPayment(f"amount: {error}") from error
    owner = (who.tenant_id, body.user_id)
    asked = Asked(owner, body.gateway_id, currency.code, units)
    payment = await create_payment(parts, asked, once, lambda payment: show(payment, parts, currencies))
    return show(payment, parts, currencies)


@routes.get("/{payment_id}", responses=answers(PaymentNotFound))
async def read_a_payment(payment_id: Id, who: Reader, parts: Parts, currencies: Configured) -> PaymentOut:
    """Read a payment."""
    payment, sight = await read_payment(parts.database, who.tenant_id, payment_id)
    shown = show(payment, parts, currencies, sight)
    shown.arrivals = [ArrivalOut.of(a, currencies) for a in await read_arrivals(parts.database, payment)]
    return shown
