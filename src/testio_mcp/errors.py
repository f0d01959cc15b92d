"""Errors as people meet them: what is wrong, and what to do next.

Every error that may reach a person, a program or a model is a `TestioError`. Surfaces show `message` and
`next_step` and map `status` (HTTP) and `exit_code` (CLI: 2 usage, 1 failure, 0 when nothing is wrong); anything else
is a defect and is masked. Neither text ever holds a token, a password or text written by strangers.
"""

from typing import ClassVar


class TestioError(Exception):
    """An expected failure, in one line each: what is wrong and the next step."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(f"{message} {next_step}")
        self.message = message
        self.next_step = next_step


class BadInput(TestioError):
    """An argument or a setting is not of the form asked for."""

    code = "bad_input"
    status = 422
    exit_code = 2


class NotFound(TestioError):
    """Nothing in the store has that id."""

    code = "not_found"
    status = 404


class Conflict(TestioError):
    """Something else is doing this already."""

    code = "conflict"
    status = 409


class AlreadyRunning(Conflict):
    """A sync is under way: nothing is wrong, and nothing was done."""

    exit_code = 0


class ApiError(TestioError):
    """The Test IO API did not do what was asked."""

    code = "api_error"
    status = 502


class TokenMissing(ApiError):
    """No API token is configured."""

    code = "token_missing"
    status = 503


class AuthFailed(ApiError):
    """401: the API refuses the token. Never retried."""

    code = "auth_failed"


class ApiForbidden(ApiError):
    """403: the token may not read this."""

    code = "api_forbidden"


class ApiNotFound(ApiError):
    """404: the API does not know this object."""

    code = "api_not_found"
    status = 404


class ApiRejected(ApiError):
    """400, 409, 422 or a redirect: the API refuses the request as it is. Never retried."""

    code = "api_rejected"


class ApiUnreachable(ApiError):
    """No connection: refused, unknown host, TLS failure or time-out; or so many failures that nothing is sent.

    `is_down` says that it is known to be true of the whole API.
    """

    code = "api_unreachable"
    status = 503

    def __init__(self, message: str, next_step: str, *, is_down: bool = False) -> None:
        super().__init__(message, next_step)
        self.is_down = is_down


class ApiUnavailable(ApiError):
    """The API answers with server errors, also after retries."""

    code = "api_unavailable"
    status = 503


class RateLimited(ApiError):
    """429: the API asks to wait longer than this call may wait.

    `retry_after` is the remaining wait in seconds.
    """

    code = "rate_limited"
    status = 503

    def __init__(self, message: str, next_step: str, *, retry_after: float) -> None:
        super().__init__(message, next_step)
        self.retry_after = retry_after


class BadPayload(ApiError):
    """The API's answer is not the JSON that its reference describes."""

    code = "bad_payload"


class OutputFailed(TestioError):
    """Standard output cannot be written: it is full or closed."""

    code = "output_failed"
    exit_code = 6


class WebhookFailed(TestioError):
    """The address that alerts are posted to did not take them."""

    code = "webhook_failed"
    status = 502


class StoreError(TestioError):
    """The local store cannot be used."""

    code = "store_error"
    status = 503


class StoreBusy(StoreError):
    """Another process holds the write lock for longer than the busy time-out."""

    code = "store_busy"


class StoreFull(StoreError):
    """The disk is full."""

    code = "store_full"


class StoreReadOnly(StoreError):
    """The file or its directory cannot be written."""

    code = "store_read_only"


class StoreGone(StoreError):
    """The file was deleted or moved away while it was open."""

    code = "store_gone"


class StoreCorrupt(StoreError):
    """The file is damaged or not a database."""

    code = "store_corrupt"


class StoreForeign(StoreCorrupt):
    """The database holds another program's tables."""

    code = "store_foreign"


class StoreOutdated(StoreError):
    """Derived data of the store were computed by another version of this program."""

    code = "store_outdated"


class StoreTooNew(StoreError):
    """The store was written by a newer version of this program."""

    code = "store_too_new"
