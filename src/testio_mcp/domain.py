"""The rules of the domain, each once: what ran, what waits, what a change means, how a share is printed.

Nothing here reads a database; conditions are built from the columns that the caller hands in.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, or_

from testio_mcp.texts import visible

FAR_FUTURE = datetime(9999, 12, 31, tzinfo=UTC)
"""Where tests without an end are sorted."""
DID_NOT_RUN = ("initialized", "waiting", "cancelled")
"""Statuses of tests that did not run; a status never seen before counts as having run."""
AWAITING = ("open", "question")
"""Statuses of bugs that are auto-accepted unless somebody decides."""
Level = Literal["critical", "high", "low", "none"]
BugKind = Literal["functional", "visual", "content", "usability", "custom", "test_case", "spelling", "unknown"]
BugStatus = Literal[
    "open", "question", "accepted", "auto_accepted", "rejected", "submitted", "manager_approved", "unknown"
]
TestStatus = Literal["initialized", "customer_finalized", "waiting", "running", "locked", "archived", "cancelled"]
TestingType = Literal["rapid", "focused", "coverage", "usability", "custom", "test_case"]
Scope = Literal["all", "ran"]
Direction = Literal["better", "worse", "higher", "lower", "same", "no clear change"]
"""What a change means; volumes are higher or lower, which is neither better nor worse."""
RAN_IN_WORDS = "tests that ran (started, and not initialized, waiting or cancelled)"
"""The default scope of metrics, as every answer says it."""

OPEN_IN_WORDS = "open: status open, without questions"
"""Which bugs are counted as open, as every answer says it."""

BUGS_FOR_A_CHANGE = 20
"""Bugs needed on each side before a change of a rate is called better or worse."""
BUGS_FOR_A_RATE = 5
"""Bugs below which a rate is shown with its numbers and without a verdict."""
_CERTAINTY = 1.959963984540054
"""The two-sided 95 % quantile of the normal distribution."""


def normalize_name(name: str) -> str:
    """A name as people see it, the same however it was typed.

    What nobody sees makes no other name: white space around it or twice within it, hidden characters, and another
    encoding of the same letters. Case is seen, and counts.
    """
    return " ".join(visible(unicodedata.normalize("NFC", name)).split())


def compute_id(text: str) -> int:
    """A 53-bit number, the same for the same text in every copy."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 11


def person_id(name: str) -> int:
    """The id of the person with this name: a name is all that the API tells of a person."""
    return compute_id(normalize_name(name))


def ran(status: ColumnElement[str], start_at: ColumnElement[Any], as_of: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a test ran: it started by the moment of the data (or has no start), and its status does not deny it."""
    return status.not_in(DID_NOT_RUN) & or_(start_at.is_(None), start_at <= as_of)


def has_run(status: str, start_at: datetime | None, as_of: datetime) -> bool:
    """`ran` for values."""
    return status not in DID_NOT_RUN and (start_at is None or start_at <= as_of)


def auto_accept_at(end_at: datetime | None, statuses: Iterable[str], days: int) -> datetime | None:
    """When the bugs of a test that await a decision are auto-accepted; None if none of the statuses awaits one.

    `days` after the end of the test (setting `auto_accept_days`); a test without an end has no such moment.
    """
    if end_at is None or not any(status in AWAITING for status in statuses):
        return None
    return end_at + timedelta(days=days)


def latest_end_due(now: datetime, within: timedelta, days: int) -> datetime:
    """The latest end of a test whose bugs are auto-accepted within this time; never after the present."""
    return now + min(timedelta(0), within - timedelta(days=days))


class Ratio(NamedTuple):
    """What a share is made of: so many of so many."""

    part: int
    whole: int

    @property
    def share(self) -> float | None:
        """To four digits; None over nothing, never 0."""
        return share(self.part, self.whole)

    @property
    def is_of_few(self) -> bool:
        """Whether there are too few to call the share good or bad; its numbers are shown instead."""
        return self.whole < BUGS_FOR_A_RATE

    def __str__(self) -> str:
        """`2 of 3`."""
        return f"{self.part} of {self.whole}"


def is_past_end(status: str, end_at: datetime | None, now: datetime) -> bool:
    """Whether a test still counts as running although its end has passed."""
    return status == "running" and end_at is not None and end_at < now


def share(part: int, whole: int) -> float | None:
    """`part` of `whole` to four digits; None over nothing, never 0."""
    return round(part / whole, 4) if whole else None


def story_coverage(tested: int, stories: int) -> Ratio:
    """Stories with an execution, of all stories of the products in question (or of the feature or story asked for).

    Both are stories that the account lists, of the same products.
    """
    return Ratio(tested, stories)


def format_share(value: float | None) -> str:
    """A share as people read it: `42.9 %`; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def is_clear_rate_change(part: int, whole: int, other_part: int, other_whole: int) -> bool:
    """Whether two shares differ by more than chance would do: a two-proportion z-test at 95 %.

    Fewer than `BUGS_FOR_A_CHANGE` on either side never do.
    """
    if min(whole, other_whole) < BUGS_FOR_A_CHANGE:
        return False
    pooled = (part + other_part) / (whole + other_whole)
    spread = sqrt(pooled * (1 - pooled) * (1 / whole + 1 / other_whole))
    return spread > 0 and abs(part / whole - other_part / other_whole) > _CERTAINTY * spread


def is_clear_count_change(number: float, other: float) -> bool:
    """Whether two counts differ by more than twice the root of their sum."""
    return abs(number - other) > 2 * sqrt(number + other)
