"""What chat refuses.

ServiceError (common.errors)
├── NotAdmitted       401   the token opens no chat
└── MessageIgnored    422   the message does not fit; `code` goes into the acknowledgement
"""

from common.errors import InvalidInput, Unauthorized


class NotAdmitted(Unauthorized):
    """The token opens no chat: unknown, forged, expired, or of a kind that is not accepted."""

    code = "authorization_error"


class MessageIgnored(InvalidInput):
    """The message does not fit the schema, or its author may not write here."""

    code = "invalid_message"


class NotAParty(MessageIgnored):
    """The message names a user who may not write here."""

    code = "not_a_party"
