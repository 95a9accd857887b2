"""The facts that payments tells."""

from datetime import datetime

from common.events import Event
from payments.domain.model import Deposit, Payment, PaymentStatus, Sweep, Withdrawal, WithdrawalStatus

_TYPES = {
    PaymentStatus.WAITING: "payment.created",
    PaymentStatus.SUCCESS: "payment.succeeded",
    PaymentStatus.EXPIRED: "payment.expired",
}


def status_reached(payment: Payment) -> Event:
    """A payment was created, succeeded or expired."""
    return Event(
        type=_TYPES[payment.status],
        aggregate=f"payment:{payment.id}",
        aggregate_version=payment.version,
        tenant_id=payment.tenant_id,
        occurred_at=payment.updated_at,
        data={
            "payment_id": payment.id,
            "user_id": payment.user_id,
            "gateway_id": payment.gateway_id,
            "currency": payment.currency,
            "amount_units": str(payment.amount),
            "received_units": str(payment.received),
            "status": payment.status.value,
            "address": payment.address,
        },
    )


def received(deposit: Deposit, at: datetime) -> Event:
    """A solid transfer reached a deposit wallet; accounts credits the user."""
    return Event(
        type="payment.received",
        aggregate=f"transfer:{deposit.key}",
        aggregate_version=1,
        tenant_id=deposit.tenant_id,
        occurred_at=at,
        data={
            "operation_key": deposit.key,
            "gateway_id": deposit.gateway_id,
            "user_id": deposit.user_id,
            "payment_id": deposit.payment_id,
            "currency": deposit.currency,
            "amount_units": str(deposit.amount),
            "txid": deposit.txid,
            "log_index": deposit.log_index,
            "block_height": deposit.height,
            "address": deposit.address,
            "arrival": deposit.arrival,
        },
    )


_WITHDRAWAL_TYPES = {
    WithdrawalStatus.REQUESTED: "withdrawal.requested",
    WithdrawalStatus.SENT: "withdrawal.sent",
    WithdrawalStatus.SUCCESS: "withdrawal.succeeded",
    WithdrawalStatus.FAILED: "withdrawal.failed",
    WithdrawalStatus.REJECTED: "withdrawal.failed",
    WithdrawalStatus.CANCELLED: "withdrawal.failed",
}
"""The statuses that are told; the others are steps on the way to them."""


def withdrawal_reached(withdrawal: Withdrawal) -> Event:
    """A withdrawal was requested, sent, or came to its end."""
    return Event(
        type=_WITHDRAWAL_TYPES[withdrawal.status],
        aggregate=f"withdrawal:{withdrawal.id}",
        aggregate_version=withdrawal.version,
        tenant_id=withdrawal.tenant_id,
        occurred_at=withdrawal.updated_at,
        data={
            "withdrawal_id": withdrawal.id,
            "user_id": withdrawal.user_id,
            "gateway_id": withdrawal.gateway_id,
            "currency": withdrawal.currency,
            "amount_units": str(withdrawal.amount),
            "address": withdrawal.address,
            "status": withdrawal.status.value,
            "reason": withdrawal.reason,
            "txid": withdrawal.txid,
        },
    )


def swept(sweep: Sweep, txid: str, at: datetime) -> Event:
    """A wallet's money is solid in the main wallet."""
    return Event(
        type="payment.swept",
        aggregate=f"sweep:{sweep.id}",
        aggregate_version=1,
        tenant_id=sweep.tenant_id,
        occurred_at=at,
        data={
            "sweep_id": sweep.id,
            "wallet_id": sweep.wallet_id,
            "gateway_id": sweep.gateway_id,
            "user_id": sweep.user_id,
            "currency": sweep.currency,
            "amount_units": str(sweep.amount),
            "txid": txid,
            "address": sweep.address,
        },
    )
