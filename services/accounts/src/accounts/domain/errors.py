"""What accounts refuses.

ServiceError (common.errors)
├── UserNotFound        404   no such user in this tenant
├── KeyUnknown          404   no such API key
├── TenantUnknown       404   no such tenant; never answered over HTTP
├── KindForbidden       403   this service may not post operations of this kind
├── CurrencyUnknown     422   not one of the configured currencies
├── TimeNotSettled      422   a balance was asked for at a time that may still change
└── CreditRefused       409   the ledger did not apply a deposit; never answered over HTTP
"""

from common.errors import Conflict, Forbidden, InvalidInput, NotFound


class UserNotFound(NotFound):
    """No such user in this tenant."""

    code = "user_not_found"


class KeyUnknown(NotFound):
    """No such API key, or it was revoked."""

    code = "key_unknown"


class TenantUnknown(NotFound):
    """No such tenant."""

    code = "tenant_unknown"


class KindForbidden(Forbidden):
    """The calling service may not post operations of this kind."""

    code, title = "kind_forbidden", "Operation kind not allowed"


class CurrencyUnknown(InvalidInput):
    """Not one of the configured currencies."""

    code = "currency_unknown"


class TimeNotSettled(InvalidInput):
    """A transaction of that time could still be under way."""

    code = "time_not_settled"


class CreditRefused(Conflict):
    """The ledger did not apply a deposit: a person has to look."""

    code, title = "credit_refused", "Deposit not applied"
