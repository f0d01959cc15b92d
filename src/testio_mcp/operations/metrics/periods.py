"""Periods of whole days: their instants and units, and the periods to compare them with.

Days are those of the account's time zone (`Settings.zone`), weeks are ISO weeks. Outside, the first and the last
day both belong to a period; inside, instants are half-open: `start <= moment < end`.
"""

from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.calendar_units import MONTHS_OF, Period, Unit, format_unit, month_after, unit_ends
from testio_mcp.operations.metrics.period_words import ALL_TIME, EXAMPLES, FORMS, period_of

__all__ = [
    "ALL_TIME",
    "EXAMPLES",
    "Bucket",
    "Period",
    "Unit",
    "bounds",
    "buckets",
    "cut_alike",
    "instant",
    "period_of",
    "previous",
    "starts_of",
    "today_in",
    "with_previous",
]
MOST_BUCKETS = 1_000
_DAY = timedelta(days=1)


class Bucket(NamedTuple):
    """A whole unit of time with its name: `2026-10-05`, `2026-W41`, `2026-10`, `2026-Q3` or `2026`."""

    label: str
    first: date
    last: date


def today_in(zone: ZoneInfo, now: datetime) -> date:
    """The day that it is in `zone` at the instant `now`."""
    return now.astimezone(zone).date()


def instant(moment: datetime, zone: ZoneInfo) -> datetime:
    """A moment in UTC; one that does not say its own zone is in `zone`."""
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:  # the calendar's first day begins before it east of Greenwich, its last ends after it west
        edge = date.min if moment.year == 1 else date.max
        return datetime.combine(edge, time(), UTC)


def bounds(period: Period, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """The instants (UTC) from which on and before which a moment belongs to the period; None: that end is open.

    A day begins with its midnight in `zone`: with the first one where the clock is set back over it, and with the
    instant of the change where the clock is set forward over it.
    """
    start = _midnight(period.first, zone) if period.first else None
    end = _midnight(period.last + _DAY, zone) if period.last and period.last < date.max else None
    return start, end


def previous(period: Period) -> Period | None:
    """The period to compare with, like for like; None when an end is open or the calendar begins.

    Days that were counted or named one by one have as many days right before them. Units of the calendar have as
    many units before them: '2026-Q3' the second quarter, 'last 3 months' the three months before. A period to date
    has the same part of the one before: as many days from its beginning, at most to its end; of years, up to the
    same day of the year (29 February: 28). Whole weeks, months, quarters and years are never cut.
    """
    if period.first is None or period.last is None:
        return None
    try:
        end = period.first - _DAY
        if period.unit is None:
            return Period(end - (period.last - period.first), end)
        whole_last = period.whole_last or period.last
        months = _month_count(period.first, whole_last) if period.unit in MONTHS_OF else 0
        start = month_after(period.first, -months) if months else end - (whole_last - period.first)
        return _same_part(period, Period(start, end, period.unit))
    except (ValueError, OverflowError):
        return None


def cut_alike(period: Period, other: Period) -> Period:
    """The part of another period to compare with this one to date; all of it unless both are as many units."""
    if not (period.is_to_date and period.first and period.whole_last and other.first and other.last):
        return other
    if period.unit is None or other.unit != period.unit or other.is_to_date:
        return other
    if period.unit == "week":
        is_as_long = period.whole_last - period.first == other.last - other.first
    else:
        is_as_long = _month_count(period.first, period.whole_last) == _month_count(other.first, other.last)
    return _same_part(period, other) if is_as_long else other


def _same_part(period: Period, whole: Period) -> Period:
    """Of a whole period the days that correspond to those of one to date; all of it where that one is whole."""
    if not (period.is_to_date and period.first and period.last and whole.first and whole.last):
        return whole
    months = _month_count(whole.first, whole.last) if whole.unit in MONTHS_OF else 0
    if months and months % 12 == 0:
        day = _years_before(period.last, period.first.year - whole.first.year)
    else:
        day = whole.first + (period.last - period.first)
    return whole.cut_after(min(day, whole.last))


def with_previous(period: Period, as_of: date) -> tuple[Period, Period] | None:
    """The days of a period up to the day of the data, and the period to compare them with.

    None where there is no such period, or where this one begins after the data ends.
    """
    if period.first is None or period.last is None or period.first > as_of:
        return None
    days = period.cut_after(as_of)
    before = previous(days)
    return (days, before) if before else None


def buckets(period: Period, unit: Unit) -> list[Bucket]:
    """All whole units that touch the period, in order; the first and the last may reach beyond it.

    Raises `BadInput` for an open end, and for more than a thousand units.
    """
    if period.first is None or period.last is None:
        raise BadInput("period: it has an open end.", "Name a first and a last day to see it by units of time.")
    found: list[Bucket] = []
    day = period.first
    try:
        while day <= period.last and len(found) <= MOST_BUCKETS:
            first, last = unit_ends(day, unit)
            found.append(Bucket(format_unit(first, unit), first, last))
            day = last + _DAY
    except (ValueError, OverflowError):
        raise BadInput("period: it reaches the end of the calendar.", f"Try {FORMS}") from None
    if len(found) > MOST_BUCKETS:
        raise BadInput(
            f"period: it has more than {MOST_BUCKETS:,} {unit}s.", "Ask for a shorter one or a longer unit."
        )
    return found


def starts_of(buckets: Sequence[Bucket], zone: ZoneInfo) -> list[datetime]:
    """The instants (UTC) at which the buckets begin, and the one at which the last of them ends."""
    days = [bucket.first for bucket in buckets] + [bucket.last + _DAY for bucket in buckets[-1:]]
    return [_midnight(day, zone) for day in days]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return instant(datetime.combine(day, time()), zone)


def _month_count(first: date, last: date) -> int:
    """The months from the first day of one to the last day of another."""
    return 12 * (last.year - first.year) + last.month - first.month + 1


def _years_before(day: date, count: int) -> date:
    """The same day so many years before."""
    last_of_month = monthrange(day.year - count, day.month)[1]
    return day.replace(year=day.year - count, day=min(day.day, last_of_month))
