"""When to ask again, and how long to wait: the retry policy, apart from the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from testio_mcp.api.clock import Clock
from testio_mcp.errors import ApiError

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_RETRY_AFTER = 86_400.0
"""A `Retry-After` of more than a day, in seconds, counts as a day."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Attempts per call, and time limits in seconds.

    `total` bounds the work of one call over all attempts and backoffs; a pause that the API asked for does not
    count against it but against `longest_pause`, and a rest of an API that is down against `longest_rest`.
    """

    attempts: int = 5
    connect: float = 5.0
    read: float = 30.0
    total: float = 60.0
    longest_pause: float = 300.0
    longest_rest: float = 300.0
    backoff_base: float = 0.5
    backoff_cap: float = 20.0


class Again(Exception):
    """An attempt that failed in a way that may pass.

    `error` is what to raise when giving up. `pause` is the wait that the API asked for. `attempts` bounds the
    attempts of a call that ends like this. `sent` is False if no byte of the request left. `outage` says that
    the failure tells of the whole API, not of this one request.
    """

    def __init__(
        self,
        error: ApiError,
        *,
        pause: float | None = None,
        limited: bool = False,
        attempts: int | None = None,
        sent: bool = True,
        outage: bool = True,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = pause
        self.limited = limited
        self.attempts = attempts
        self.sent = sent
        self.outage = outage


def backoff(policy: Policy, clock: Clock, attempt: int) -> float:
    """Seconds to wait after the failed attempt of this number (from 0): full jitter."""
    return clock.uniform(0.0, min(policy.backoff_cap, policy.backoff_base * 2**attempt))


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by the `Retry-After` header; None if it is absent or makes no sense.

    A date is compared with the `Date` of the answer, so that a wrong local clock does no harm; `now` stands in
    where there is none.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(LONGEST_RETRY_AFTER, float(value[:400]))
    moment = http_date(value)
    if moment is None:
        return None
    sent = http_date(headers.get("date", "")) or now
    return min(LONGEST_RETRY_AFTER, max(0.0, (moment - sent).total_seconds()))


def http_date(value: str) -> datetime | None:
    """The moment that a header names; None if it names none."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
