"""What deals refuses.

ServiceError (common.errors)
├── DealNotFound          404   no such deal in this tenant
├── UnknownParty          404   the customer or the performer is no user of this tenant
├── InvalidDeal           422   the deal itself can't be
├── IllegalTransition     409   the status does not allow the action; names what it allows
└── ActionPending         409   money of another action is still in flight
"""

from common.errors import Conflict, InvalidInput, NotFound


class DealNotFound(NotFound):
    """No such deal in this tenant."""

    code = "deal_not_found"


class UnknownParty(NotFound):
    """The customer or the performer is not a user of this tenant."""

    code = "unknown_party"


class InvalidDeal(InvalidInput):
    """A deal that can't be: its parties, its price or its deadline."""

    code = "invalid_deal"


class IllegalTransition(Conflict):
    """The deal's status does not allow the action."""

    code, title = "illegal_transition", "The deal's status does not allow this"


class ActionPending(Conflict):
    """Money of another action is in flight; its outcome decides what is possible next."""

    code, title = "pending", "Another action is still in flight"
