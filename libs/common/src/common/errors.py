"""Errors that a caller can act on, rendered as RFC 9457 problems.

ServiceError                 status and code; each service's domain/errors.py grows its tree from here
├── InvalidInput       422   the request itself is wrong
├── NotFound           404   does not exist, or belongs to another tenant
├── Unauthorized       401   no key, or one that is not known
├── Forbidden          403   the key lacks the scope
├── Conflict           409   the wrong state, or a race lost
└── Unavailable        503   a part we depend on does not answer; try again
"""

from typing import Any, ClassVar


class ServiceError(Exception):
    """An expected failure with a status, a stable code and a sentence that says what to do."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members

    def body(self) -> dict[str, Any]:
        """Return the problem's JSON members (RFC 9457, section 3)."""
        return problem(self.status, self.code, self.title, self.detail, **self.members)


def problem(status: int, code: str, title: str, detail: str, **members: Any) -> dict[str, Any]:
    """Return a problem's JSON members (RFC 9457, section 3)."""
    return {
        "type": f"urn:garant:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        **members,
    }


class InvalidInput(ServiceError):
    """The request is malformed or asks for something that can't be."""

    status, code, title = 422, "invalid_input", "The request is not valid"


class NotFound(ServiceError):
    """It does not exist, or it belongs to another tenant: the two look the same."""

    status, code, title = 404, "not_found", "Not found"


class Unauthorized(ServiceError):
    """There is no key, or it is not known."""

    status, code, title = 401, "unauthorized", "An API key is needed"


class Forbidden(ServiceError):
    """The key does not carry the scope."""

    status, code, title = 403, "forbidden", "The key lacks the scope"


class Conflict(ServiceError):
    """The object is in a state that does not allow this, or a race was lost."""

    status, code, title = 409, "conflict", "Not possible now"


class Unavailable(ServiceError):
    """A part we depend on does not answer. Whether it did the work is not known."""

    status, code, title = 503, "unavailable", "Temporarily unavailable"
