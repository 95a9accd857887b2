"""What payments refuses.

ServiceError (common.errors)
├── PaymentNotFound     404   no such payment in this tenant
├── UserNotFound        404   no such user in this tenant
├── InvalidPayment      422   the gateway, the currency or the amount can't be
└── NodeUnavailable     503   no Tron node answers
    └── NodeLied        503   a node's answer contradicts itself or the chain we know
"""

from common.errors import InvalidInput, NotFound, Unavailable


class PaymentNotFound(NotFound):
    """No such payment in this tenant."""

    code = "payment_not_found"


class UserNotFound(NotFound):
    """No such user in this tenant."""

    code = "user_not_found"


class InvalidPayment(InvalidInput):
    """The gateway, the currency or the amount can't be."""

    code = "invalid_payment"


class NodeUnavailable(Unavailable):
    """No Tron node answers."""

    code = "node_unavailable"


class NodeLied(NodeUnavailable):
    """A node's answer contradicts itself or the chain we know; it is asked again."""

    code = "node_lied"
