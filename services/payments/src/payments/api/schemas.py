"""The shapes of requests and answers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from common.ids import MAX_ID
from common.money import Amount, Currencies, Currency
from common.web import Body
from payments.domain.model import Arrival, Arrived, Payment, Sight, Withdrawal, WithdrawalStatus
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


class ArrivalOut(BaseModel):
    """A solid transfer to the payment's address. The user is credited with it, whatever its state."""

    txid: str = Field(examples=["6f4f0d7c1c8b6c2f0ed3f1a35c5dfd7d5c3c0b8a6c4a1f0e9d8c7b6a5f4e3d2c"])
    amount: str = Field(examples=["12.500000"])
    currency: str = Field(examples=["USDT"])
    state: Arrival = Field(
        examples=["exact"],
        description=(
            "what it was to the payment: exactly what was left to pay (`exact`), less (`under`), more (`over`), "
            "after it had expired (`late`), after it was paid (`extra`), or in an `other_currency`"
        ),
    )
    credited: bool = Field(description="it is on the user's balance")

    @classmethod
    def of(cls, arrived: Arrived, currencies: Currencies) -> "ArrivalOut":
        """Show an arrival."""
        currency = currencies.get(arrived.currency)
        assert currency is not None, f"{arrived.currency} was configured once and must stay (CURRENCIES)"
        return cls(
            txid=arrived.txid,
            amount=currency.to_text(arrived.amount),
            currency=arrived.currency,
            state=arrived.state,
            credited=arrived.credited,
        )


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
    seen_amount: str = Field(
        examples=["0.000000"],
        description="at the chain's head and not solid yet; it is for display, and a fork may take it back",
    )
    confirmations: int | None = Field(
        examples=[None],
        description="how many blocks are on top of the newest deposit's block; null when nothing arrived",
    )
    currency: str = Field(examples=["USDT"])
    created_at: datetime
    expires_at: datetime
    gateway_data: GatewayData
    arrivals: list[ArrivalOut] = Field(
        default=[], description="what arrived, solid, the newest last; the last 50 are shown"
    )

    @classmethod
    def of(cls, payment: Payment, gateway: Gateway | None, currency: Currency, sight: Sight) -> "PaymentOut":
        """Show a payment; of one whose gateway is not configured any more, what is stored."""
        data: Mapping[str, str] = {"address": payment.address, "network": payment.network}
        return cls(
            payment_id=payment.id,
            status=payment.status.value,
            gateway_id=payment.gateway_id,
            user_id=payment.user_id,
            amount=currency.to_text(payment.amount),
            received_amount=currency.to_text(payment.received),
            seen_amount=currency.to_text(sight.seen),
            confirmations=sight.confirmations,
            currency=payment.currency,
            created_at=payment.created_at,
            expires_at=payment.expires_at,
            gateway_data=GatewayData.model_validate(gateway.data(payment.address) if gateway else data),
        )


class WithdrawalIn(Body):
    """Money of a user to send to an address."""

    gateway_id: Annotated[str, StringConstraints(max_length=40)] = Field(examples=["tron_usdt"])
    user_id: Annotated[int, Field(ge=1, le=MAX_ID)]
    amount: Amount
    currency: Annotated[str, StringConstraints(max_length=12)] = Field(examples=["USDT"])
    address: Annotated[str, StringConstraints(max_length=100)] = Field(
        examples=["TB8hS63CKx92bKwaHkoUChNxoazzS3SFYs"]
    )


_SHOWN = {WithdrawalStatus.PAYING: WithdrawalStatus.SENT, WithdrawalStatus.RETURNING: WithdrawalStatus.SENT}
"""Steps that wait for the ledger alone."""


class WithdrawalOut(BaseModel):
    """A withdrawal."""

    withdrawal_id: int
    status: str = Field(
        examples=["queued"],
        description="requested, awaiting_approval, queued, sent; at its end success, failed, rejected, cancelled",
    )
    reason: str | None = Field(description="why it failed, was rejected or cancelled")
    waits_for: str | None = Field(
        description="the code of what holds it up, for example main_wallet_short; it is tried again"
    )
    gateway_id: str
    user_id: int
    amount: str = Field(examples=["12.500000"])
    currency: str = Field(examples=["USDT"])
    address: str
    txid: str | None = Field(description="the transaction that was signed last")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, withdrawal: Withdrawal, currency: Currency) -> "WithdrawalOut":
        """Show a withdrawal."""
        return cls(
            withdrawal_id=withdrawal.id,
            status=_SHOWN.get(withdrawal.status, withdrawal.status).value,
            reason=withdrawal.reason,
            waits_for=withdrawal.last_error.partition(":")[0] if withdrawal.last_error else None,
            gateway_id=withdrawal.gateway_id,
            user_id=withdrawal.user_id,
            amount=currency.to_text(withdrawal.amount),
            currency=withdrawal.currency,
            address=withdrawal.address,
            txid=withdrawal.txid,
            created_at=withdrawal.created_at,
            updated_at=withdrawal.updated_at,
        )


class WithdrawalPage(BaseModel):
    """A page of withdrawals, newest first."""

    withdrawals: list[WithdrawalOut]
    next: int | None = Field(description="the `before` of the next page; null on the last")
