"""What chat refuses.

ServiceError (common.errors)
├── NotAdmitted          401   the token opens no chat
├── ChatNotFound         404   the tenant has no such chat, or it is not here any more
├── MessageIgnored       422   the message does not fit; `code` goes into the acknowledgement
│   └── NotAParty        422   its author may not write here
├── ReadOnly             409   the deal ended long ago
├── RateLimited          429   more than a limit allows; it says when to try again
├── NoDispute            409   an arbiter speaks where no dispute is open
└── ClientMsgIdTaken     409   the author's other message has this client_msg_id
"""

from common.errors import Conflict, InvalidInput, NotFound, ServiceError, Unauthorized


class NotAdmitted(Unauthorized):
    """The token opens no chat: unknown, forged, expired, or of a kind that is not accepted."""

    code = "authorization_error"


class ChatNotFound(NotFound):
    """No deal of this tenant has the chat, or its row is gone from under those who are in it."""

    code = "chat_not_found"


class MessageIgnored(InvalidInput):
    """The message does not fit the schema, or its author may not write here."""

    code = "invalid_message"


class NotAParty(MessageIgnored):
    """The message names a user who may not write here."""

    code = "not_a_party"


class ReadOnly(Conflict):
    """The deal ended so long ago that its chat is only read."""

    code = "read_only"


class NoDispute(Conflict):
    """An arbiter has a say while a dispute is open, and at no other time."""

    code = "no_dispute"


class ClientMsgIdTaken(Conflict):
    """The author has sent another text under this client_msg_id."""

    code = "client_msg_id_taken"


class RateLimited(ServiceError):
    """More than a limit allows.

    Args:
        retry_after_s: after how long one more is allowed.
    """

    status, code, title = 429, "rate_limited", "Too many"

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.retry_after_s = retry_after_s
