"""Periods as people say them, as UTC days that both belong to it."""

import re
from calendar import monthrange
from datetime import date, timedelta
from typing import NamedTuple

from testio_mcp.errors import BadInput

EXAMPLES = (
    "today",
    "yesterday",
    "last 7 days",
    "last 30 days",
    "last 90 days",
    "this week",
    "last week",
    "this month",
    "last month",
    "this quarter",
    "last quarter",
    "this year",
    "last year",
    "YTD",
)
"""The forms without numbers of one's own, and the usual of the others."""
_STEP = "Say it as 'last 30 days', 'this quarter', 'YTD', '2026-Q3', '2026-W41', '2026-10', '2026' or two days."
_MOST_DAYS = 36_500


class Period(NamedTuple):
    """A first and a last day; both belong to it."""

    first: date
    last: date


def period_of(words: str, today: date) -> Period:
    """The days that `words` mean on the day `today`. Raises `BadInput` for words that mean none."""
    said = " ".join(words.lower().split())
    try:
        found = (_relative(said, today) or _named(said)) if said.isascii() else None
    except (ValueError, OverflowError):
        found = None
    if found is None or found.first > found.last:
        raise BadInput(f"period: {words[:60]!r} is none.", _STEP)
    return found


def _relative(said: str, today: date) -> Period | None:
    """`today`, `last 7 days`, `this quarter` and the like."""
    if said == "ytd":
        return Period(date(today.year, 1, 1), today)
    if said in ("today", "yesterday"):
        day = today - timedelta(days=said == "yesterday")
        return Period(day, day)
    if days := re.fullmatch(r"(?:last|past) (\d{1,6}) days?", said):
        count = int(days[1])
        return Period(today - timedelta(days=count - 1), today) if 0 < count <= _MOST_DAYS else None
    if unit := re.fullmatch(r"(this|last) (week|month|quarter|year)", said):
        current = _unit(today, unit[2])
        return current if unit[1] == "this" else _unit(current.first - timedelta(days=1), unit[2])
    return None


def _unit(day: date, unit: str) -> Period:
    """The ISO week, month, quarter or year around a day."""
    if unit == "week":
        monday = day - timedelta(days=day.weekday())
        return Period(monday, monday + timedelta(days=6))
    months = {"month": 1, "quarter": 3, "year": 12}[unit]
    return _months(day.year, (day.month - 1) // months * months + 1, months)


def _months(year: int, month: int, count: int) -> Period:
    last = month + count - 1
    return Period(date(year, month, 1), date(year, last, monthrange(year, last)[1]))


def _named(said: str) -> Period | None:
    """`2026`, `2026-Q3`, `2026-W41`, `2026-10`, `2026-10-05` and two days with `..` or `to` between them."""
    if span := re.fullmatch(r"(\d{4}-\d\d-\d\d)(?: ?\.\. ?| to | ?- ?)(\d{4}-\d\d-\d\d)", said):
        return Period(date.fromisoformat(span[1]), date.fromisoformat(span[2]))
    if not (name := re.fullmatch(r"(\d{4})(?:-(q[1-4]|w\d\d?|\d\d|\d\d-\d\d))?", said)):
        return None
    year, part = int(name[1]), name[2]
    if part is None:
        return _months(year, 1, 12)
    if part[0] == "q":
        return _months(year, 3 * int(part[1]) - 2, 3)
    if part[0] == "w":
        monday = date.fromisocalendar(year, int(part[1:]), 1)
        return Period(monday, monday + timedelta(days=6))
    if len(part) == len("10-05"):
        day = date.fromisoformat(said)
        return Period(day, day)
    return _months(year, int(part), 1)
