"""The shapes of requests and answers."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from common.ids import MAX_ID
from common.money import Amount, Currency
from common.web import Body
from payments.domain.model import Payment
from payments.domain.ports import Gateway


class PaymentIn(Body):
    """A payment to ask a user for."""

    gateway_id: Annotated[str, StringConstraints(max_length=40)] = Field(examples=["tron_usdt"])
    user_id: Annotated[int, Field(ge=1, le=MAX_ID)]
    amount: Amount
    currency: Annotated[str, StringConstraints(max_length=12)] = Field(examples=["USDT"])


class GatewayOut(BaseModel):
    """A way to pay."""

    id: str = Field(examples=["tron_usdt"])
    name: str = Field(examples=["USDT (TRC-20)"])
    network: str = Field(examples=["tron"])
    currencies: list[str] = Field(examples=[["USDT"]])


class GatewayData(BaseModel):
    """Where and what to pay: send the token of this contract, or TRX where there is none, to this address."""

    model_config = ConfigDict(extra="allow")

    address: str = Field(examples=["TB8hS63CKx92bKwaHkoUChNxoazzS3SFYs"])
    network: str = Field(examples=["tron"])
    token_contract: str | None = Field(default=None, examples=["TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"])


class PaymentOut(BaseModel):
    """A payment."""

    payment_id: int
    status: str = Field(examples=["waiting"])
    gateway_id: str = Field(examples=["tron_usdt"])
    user_id: int
    amount: str = Field(examples=["12.500000"])
    received_amount: str = Field(
        examples=["0.000000"], description="what arrived, solid; all of it is credited to the user"
    )
    currency: str = Field(examples=["USDT"])
    created_at: datetime
    expires_at: datetime
    gateway_data: GatewayData

    @classmethod
    def of(cls, payment: Payment, gateway: Gateway, currency: Currency) -> "PaymentOut":
        """Show a payment."""
        return cls(
            payment_id=payment.id,
            status=payment.status.value,
            gateway_id=payment.gateway_id,
            user_id=payment.user_id,
            amount=currency.to_text(payment.amount),
            received_amount=currency.to_text(payment.received),
            currency=payment.currency,
            created_at=payment.created_at,
            expires_at=payment.expires_at,
            gateway_data=GatewayData.model_validate(gateway.data(payment.address)),
        )
