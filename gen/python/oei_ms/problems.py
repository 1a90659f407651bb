# Generated from openapi.yaml by ./task gen; do not edit.
"""An exception for each type of problem."""

from ._problem import ProblemError

__all__ = [
    "InvalidRequest",
    "NotAuthenticated",
    "Forbidden",
    "NotFound",
    "MethodNotAllowed",
    "Timeout",
    "Conflict",
    "Changed",
    "TooLarge",
    "UnsupportedMediaType",
    "ExpectationFailed",
    "Unprocessable",
    "UpgradeRequired",
    "TooManyRequests",
    "HeadTooLarge",
    "Internal",
    "NotImplemented",
    "Unavailable",
    "VersionNotSupported",
]


class InvalidRequest(ProblemError):
    """The request is not valid; `errors` names the faulty fields."""

    status = 400
    type = "/problems/invalid-request"


class NotAuthenticated(ProblemError):
    """No valid token or API key, or wrong credentials. Log in."""

    status = 401
    type = "/problems/not-authenticated"


class Forbidden(ProblemError):
    """The user's role does not allow the operation."""

    status = 403
    type = "/problems/forbidden"


class NotFound(ProblemError):
    """The address or the resource does not exist."""

    status = 404
    type = "/problems/not-found"


class MethodNotAllowed(ProblemError):
    """The address has no such method; `Allow` lists those it has."""

    status = 405
    type = "/problems/method-not-allowed"


class Timeout(ProblemError):
    """The body did not arrive in time."""

    status = 408
    type = "/problems/timeout"


class Conflict(ProblemError):
    """In conflict with the current state, such as a key that is taken."""

    status = 409
    type = "/problems/conflict"


class Changed(ProblemError):
    """The resource has changed since it was read. Read it again."""

    status = 412
    type = "/problems/changed"


class TooLarge(ProblemError):
    """The body is larger than allowed."""

    status = 413
    type = "/problems/too-large"


class UnsupportedMediaType(ProblemError):
    """The content type, charset or coding is not supported."""

    status = 415
    type = "/problems/unsupported-media-type"


class ExpectationFailed(ProblemError):
    """An `Expect` other than `100-continue`."""

    status = 417
    type = "/problems/expectation-failed"


class Unprocessable(ProblemError):
    """The `Idempotency-Key` was used with another body."""

    status = 422
    type = "/problems/unprocessable"


class UpgradeRequired(ProblemError):
    """The address is for WebSockets."""

    status = 426
    type = "/problems/upgrade-required"


class TooManyRequests(ProblemError):
    """A limit is reached. Wait for `Retry-After`."""

    status = 429
    type = "/problems/too-many-requests"


class HeadTooLarge(ProblemError):
    """The head of the request is larger than 32,768 bytes."""

    status = 431
    type = "/problems/head-too-large"


class Internal(ProblemError):
    """A fault of the server; its log has the reason under `instance`."""

    status = 500
    type = "/problems/internal"


class NotImplemented(ProblemError):
    """The transfer coding is not supported."""

    status = 501
    type = "/problems/not-implemented"


class Unavailable(ProblemError):
    """Temporarily not available. Wait for `Retry-After`."""

    status = 503
    type = "/problems/unavailable"


class VersionNotSupported(ProblemError):
    """The HTTP version is not supported."""

    status = 505
    type = "/problems/version-not-supported"
