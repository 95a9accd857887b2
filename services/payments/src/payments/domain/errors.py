"""What payments refuses.

ServiceError (common.errors)
├── PaymentNotFound     404   no such payment in this tenant
├── UserNotFound        404   no such user in this tenant
├── AddressNotFound     404   no address of ours without an owner
├── InvalidPayment      422   the gateway, the currency or the amount can't be
├── WithdrawalNotFound  404   no such withdrawal in this tenant
├── InvalidWithdrawal   422   the gateway, the currency, the amount or the address can't be
├── InsufficientFunds   409   the user's balance is smaller than the amount
├── WithdrawalLimit     409   the key's limit of a day would be passed
├── IllegalDecision     409   the withdrawal's status, or the key, does not allow it
├── SignerRefused       422   an intent that the signer must not sign
│   └── LimitReached    409   a limit of the signer would be passed; the text names its setting
├── SeedRefused         409   the seed, its words or its key file are not what they must be
├── ContractRefuses     503   the contract would refuse a transfer: paused, or one of the two is on its black list
└── NodeUnavailable     503   no Tron node answers
    └── NodeLied        503   a node's answer contradicts itself or the chain we know
        ├── NodeBehind  503   a node's head is far behind the best one
        └── ForeignBlock 503  a block that does not follow the one we know; of all nodes: not our chain
"""

from common.errors import Conflict, InvalidInput, NotFound, Unavailable


class PaymentNotFound(NotFound):
    """No such payment in this tenant."""

    code = "payment_not_found"


class UserNotFound(NotFound):
    """No such user in this tenant."""

    code = "user_not_found"


class AddressNotFound(NotFound):
    """No address of ours without an owner."""

    code = "address_not_found"


class InvalidPayment(InvalidInput):
    """The gateway, the currency or the amount can't be."""

    code = "invalid_payment"


class WithdrawalNotFound(NotFound):
    """No such withdrawal in this tenant."""

    code = "withdrawal_not_found"


class InvalidWithdrawal(InvalidInput):
    """The gateway, the currency, the amount or the address can't be."""

    code = "invalid_withdrawal"


class InsufficientFunds(Conflict):
    """The user's balance is smaller than the amount."""

    code = "insufficient_funds"


class WithdrawalLimit(Conflict):
    """The key's limit of a day would be passed."""

    code = "withdrawal_limit"


class IllegalDecision(Conflict):
    """The withdrawal's status does not allow it, or the key that asked for it may not approve it."""

    code = "illegal_decision"


class SignerRefused(InvalidInput):
    """An intent that the signer must not sign."""

    code, title = "signer_refused", "The signer refused"


class LimitReached(SignerRefused):
    """A limit of the signer would be passed; the text names its setting."""

    status, code = 409, "signer_limit_reached"


class SeedRefused(Conflict):
    """The seed, its words or its key file are not what they must be; no text holds a word or a key."""

    code = "seed_refused"


class ContractRefuses(Unavailable):
    """The contract would refuse a transfer."""

    code = "contract_refuses"


class NodeUnavailable(Unavailable):
    """No Tron node answers."""

    code = "node_unavailable"


class NodeLied(NodeUnavailable):
    """A node's answer contradicts itself or the chain we know; it is asked again."""

    code = "node_lied"


class NodeBehind(NodeLied):
    """A node's head is far behind the best one."""

    code = "node_behind"


class ForeignBlock(NodeLied):
    """A block does not follow the one that we know; of all nodes: this is not the chain that we scanned."""

    code = "foreign_block"
