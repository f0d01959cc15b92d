"""What the head of an answer means: go on and read the body, ask again, or give up with a next step.

Of a refusal (403, 422) an error repeats the API's own reason: one short line, cleaned, in quotes and marked as the
API's. No other text of the server gets into one: neither a body nor the address that it redirects to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testio_mcp.api.clock import Clock
from testio_mcp.api.retry import RETRIED_STATUSES, Again, retry_after
from testio_mcp.api.strict_json import NotJson, read_json
from testio_mcp.errors import (
    ApiError,
    ApiForbidden,
    ApiNotFound,
    ApiRejected,
    ApiUnavailable,
    AuthFailed,
    BadPayload,
    RateLimited,
)
from testio_mcp.texts import quote_line

CHECK_ADDRESS = "Check TESTIO_CUSTOMER_API_BASE_URL."
CHECK_TOKEN = "Check TESTIO_CUSTOMER_API_TOKEN (Test IO: Settings > API tokens)."  # noqa: S105
_UNSAID = frozenset({"", "text/plain", "application/octet-stream"})
"""Media types under which servers and proxies send JSON without saying so."""
LATER = "Try again later; answers from the local store stay available."


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of which host, for error texts: `call` is method and path, without parameters."""

    host: str
    call: str

    def __str__(self) -> str:
        return f"{self.call} on {self.host}"


def add_reason(error: ApiError, body: bytes, token: str) -> ApiError:
    """The error with the API's own reason where the body gives one: a short line in quotes, without the token."""
    reason = _reason_in(body)
    said = quote_line(reason.replace(token, "***") if token else reason)
    return type(error)(f'{error.message} The API says: "{said}".', error.next_step) if said else error


def _reason_in(body: bytes) -> str:
    """What a body of JSON gives as the reason: a text, or the texts of an object or list."""
    try:
        value = read_json(body)
    except (NotJson, RecursionError):
        return ""
    if isinstance(value, dict):
        value = next((value[name] for name in _REASONS if value.get(name)), None)
    return "; ".join(_texts(value, depth=3))


def _texts(value: Any, depth: int) -> list[str]:
    """The texts of a reason, those of fields after the name of the field."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if not depth:
        return []
    if isinstance(value, list):
        return [text for each in value[:5] for text in _texts(each, depth - 1)]
    if isinstance(value, dict):
        named = ((name, _texts(each, depth - 1)) for name, each in list(value.items())[:5])
        return [f"{name}: {', '.join(texts)}" for name, texts in named if texts]
    return []


_REASONS = ("error", "errors", "message", "reason", "detail", "error_description")


def check_head(asked: Asked, status: int, headers: Mapping[str, str], clock: Clock) -> None:
    """Raise `Again` or an `ApiError` unless the body is to be read as JSON."""
    if status in RETRIED_STATUSES:
        raise _passing(asked, status, retry_after(headers, clock.now()))
    if not 200 <= status < 300:
        raise refusal(asked, status)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status != 204 and kind not in _UNSAID and not kind.endswith(("/json", "+json")):
        raise not_json(asked)


def check_body(asked: Asked, headers: Mapping[str, str], body: bytes) -> None:
    """Raise `Again` for a text that is not said to be JSON and does not look like it."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _UNSAID and body.strip() and body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
        raise not_json(asked)


def refused_change(asked: Asked, status: int, sent: Any, body: bytes) -> ApiRejected:
    """The API refuses what was sent; of its complaint only the names of fields that were sent are repeated."""
    try:
        fields = sorted(_names(sent) & _names(read_json(body)))
    except (NotJson, RecursionError):
        fields = []
    about = f": {', '.join(fields)}" if fields else ""
    return ApiRejected(f"{asked} was refused with status {status}{about}.", "Check the arguments.")


def _names(value: Any) -> set[str]:
    """All names of fields in a JSON value."""
    if isinstance(value, dict):
        return {*value, *(name for inner in value.values() for name in _names(inner))}
    return {name for inner in value for name in _names(inner)} if isinstance(value, list) else set()


def not_json(asked: Asked) -> Again:
    """A login, error or maintenance page in place of JSON."""
    return Again(ApiUnavailable(f"{asked} answered with a web page in place of JSON.", f"{LATER} {CHECK_ADDRESS}"))


def bad_payload(asked: Asked, reason: str) -> BadPayload:
    """An answer that is not what the reference describes."""
    return BadPayload(f"The answer to {asked} cannot be read: {reason}.", f"{LATER} {CHECK_ADDRESS}")


def _passing(asked: Asked, status: int, pause: float | None) -> Again:
    if status == 429:
        limited = RateLimited(f"{asked.host} asks for fewer requests (429).", LATER, retry_after=pause or 0.0)
        return Again(limited, pause=pause, limited=True, outage=False)
    error = ApiUnavailable(f"{asked} failed with status {status}.", LATER)
    # A plain 500 is often the fault of one record; 502 to 504 speak for the API as a whole.
    return Again(error, pause=pause, limited=pause is not None, outage=status > 500)


def refusal(asked: Asked, status: int) -> ApiError:
    """What an answer means that is no success and that no later attempt would change."""
    if status == 401:
        return AuthFailed(f"{asked.host} refuses the API token (401).", CHECK_TOKEN)
    if status == 403:
        return ApiForbidden(f"The API token may not do {asked} (403).", "Ask for access, or use another token.")
    if status == 404:
        return ApiNotFound(f"{asked}: not found (404).", f"It may be deleted. {CHECK_ADDRESS}")
    if 300 <= status < 400:
        return ApiRejected(f"{asked} was redirected, which is never followed ({status}).", CHECK_ADDRESS)
    if status >= 500:
        return ApiUnavailable(f"{asked} failed with status {status}.", LATER)
    return ApiRejected(f"{asked} was refused with status {status}.", "Check the arguments.")
