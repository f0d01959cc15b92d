"""When things happen: a test's way from draft to archive, and timestamps as the API writes them.

All times are whole seconds since 1970 (UTC). What a record looks like at a moment follows from its dates, so
moving the account's clock is all it takes to let a day pass.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from .catalog import AUTO_ACCEPT_DAYS

HOUR = 3600
DAY = 24 * HOUR
AUTO_ACCEPT = AUTO_ACCEPT_DAYS * DAY
NEVER = 1 << 40

_REVIEW = {
    "initialized": "not_finalized",
    "customer_finalized": "review_initialized",
    "cancelled": "review_failed",
}


class Phases(NamedTuple):
    """The dates of one test."""

    created: int
    finalized: int
    approved: int
    start: int
    end: int
    cancelled: int = NEVER

    def status(self, now: int, has_bugs: bool) -> str:
        """The word for where the test stands at `now`."""
        if now >= self.cancelled:
            return "cancelled"
        for until, word in (
            (self.finalized, "initialized"),
            (self.approved, "customer_finalized"),
            (self.start, "waiting"),
            (self.end, "running"),
        ):
            if now < until:
                return word
        return "locked" if has_bugs and now < self.end + AUTO_ACCEPT else "archived"


def review_status(status: str) -> str:
    """How the test lead's review stands, for a test of this status."""
    return _REVIEW.get(status, "review_successful")


class Live(NamedTuple):
    """One of the newest tests of a product, in hours from the account's first moment.

    `share` is the part of its duration that lies before `anchor`.
    """

    created: int
    finalized: int
    approved: int
    anchor: int
    share: float


_DRAFT = Live(-8, 40, 52, 72, 0)
_SUBMITTED = Live(-30, -6, 10, 30, 0)
_WAITING = Live(-54, -40, -24, 12, 0)
_RUNNING = Live(-80, -70, -60, 0, 0.6)
_ENDED = (Live(-130, -120, -110, -20, 1), Live(-200, -190, -180, -96, 1), Live(-280, -270, -265, -204, 1))
LIVE = (_DRAFT, _SUBMITTED, _WAITING, _RUNNING, *_ENDED)
# Which of them a product with few tests has.
_WANTED = (_RUNNING, _ENDED[0], _WAITING, _SUBMITTED, _DRAFT, _ENDED[1], _ENDED[2])


def live_tests(tests: int) -> tuple[Live, ...]:
    """The tests under way, newest first, of a product that starts with `tests` tests."""
    kept = _WANTED[: max(1, tests // 2)] if tests > 1 else ()
    return tuple(live for live in LIVE if live in kept)


def moment(when: datetime) -> int:
    """Seconds since 1970; a time without a zone is UTC."""
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


# Offset in seconds and the text that says so.
_STYLES = ((7200, "+02:00"), (0, "Z"), (7200, ".000+02:00"), (0, ".417Z"))


def stamp(seconds: int, style: int = 0) -> str:
    """A timestamp in one of the four forms that the API uses."""
    offset, suffix = _STYLES[style]
    return datetime.fromtimestamp(seconds + offset, UTC).isoformat()[:19] + suffix
