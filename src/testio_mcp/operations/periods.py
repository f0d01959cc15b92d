"""Periods as people say them, as days that both belong to them, and the instants and units of such days.

Days are those of the account's time zone (`Settings.zone`), weeks are ISO weeks. Outside, the first and the last
day both belong to a period; inside, instants are half-open: `start <= moment < end`.
"""

import re
import unicodedata
from calendar import monthrange
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from testio_mcp.errors import BadInput

Unit = Literal["day", "week", "month", "quarter", "year"]

EXAMPLES = (
    "today",
    "yesterday",
    "last 7 days",
    "last 30 days",
    "last 90 days",
    "last 3 months",
    "this week",
    "last week",
    "this month",
    "last month",
    "this quarter",
    "last quarter",
    "this year",
    "last year",
    "YTD",
    "all time",
    "heute",
    "gestern",
    "letzte 7 Tage",
    "letzte 30 Tage",
    "letzte 3 Monate",
    "diese Woche",
    "dieser Monat",
    "dieses Quartal",
    "dieses Jahr",
    "letzte Woche",
    "letztes Quartal",
    "letztes Jahr",
    "Vormonat",
    "seit Jahresbeginn",
    "gesamt",
)
"""The forms without numbers of one's own, and the usual of the others."""
MOST_BUCKETS = 1_000
_STEP = (
    "Say it as 'last 30 days', 'this quarter', 'previous 3 months', 'YTD', '2026-Q3', '2026-W41', '2026-10', "
    "'October 2026', '2026', '2026-10-05', 'since 2026-10-05', '2026-10-01 to 2026-10-31' or 'all time'; "
    "German works too ('letzte 30 Tage', 'KW 41 2026', '1.10.2026 bis 31.10.2026')."
)
_LONGEST = 100
_MOST_DAYS = 36_500
_DAY = timedelta(days=1)
_MONTHS_OF: dict[Unit, int] = {"month": 1, "quarter": 3, "year": 12}

_ALL = ("", "all", "all time", "alles", "gesamt", "insgesamt", "gesamter zeitraum", "gesamte zeit")
_UNITS: dict[str, Unit] = {
    "d": "day", "t": "day", "w": "week", "m": "month", "q": "quarter", "y": "year", "j": "year"
}  # fmt: skip
"""English and German units by their first letters."""
_UNIT = (
    r"(?P<unit>days?|weeks?|months?|quarters?|years?"
    r"|tag(?:en?|es|s)?|wochen?|monat(?:en?|es|s)?|quartal(?:en?|es|s)?|jahr(?:en?|es|s)?)"
)
_MONTH_NAMES = (
    ("january", "januar", "jänner"),
    ("february", "februar"),
    ("march", "märz", "maerz", "mrz"),
    ("april",),
    ("may", "mai"),
    ("june", "juni"),
    ("july", "juli"),
    ("august",),
    ("september",),
    ("october", "oktober"),
    ("november",),
    ("december", "dezember"),
)
_FILLER = re.compile(r"(?:(?:in|during|within|over|for|on|im|am|für) )?(?:(?:the|den|dem|der|die|das|zum) )?(?=.)")
_THIS = re.compile(rf"(?:this|current|diese[rsmn]?|aktuelle[rsmn]?|laufende[rsmn]?) {_UNIT}")
_LAST = re.compile(
    r"(?:(?P<until_today>last|past|letzte[rsmn]?|vergangene[rsmn]?)|previous|prior|vor(?:her)?ige[rsmn]?) "
    rf"(?:(?P<count>\d{{1,5}}) )?{_UNIT}",
    re.ASCII,
)
_COMPOUND = re.compile(r"vor(?=(?:tag|woche|monat|quartal|jahr)$)")
_TO_DATE = re.compile(r"(?:([wmqy])td|(week|month|quarter|year) to date|seit (woche|monat|quartal|jahr)e?[ns]?"
                      r"(?:beginn|anfang))")  # fmt: skip
_YEAR = r"(?P<year>\d{4})"
_MONTH_NAME = r"(?P<name>[a-zä]{3,9})\.?"
_NAMED = tuple(
    re.compile(form, re.ASCII)
    for form in (
        _YEAR,
        rf"{_YEAR}[- ]?q(?P<quarter>[1-4])",
        rf"q(?P<quarter>[1-4])[ /-]{_YEAR}",
        rf"(?P<quarter>[1-4])\. ?quartal {_YEAR}",
        rf"{_YEAR}[- ]?(?:w|kw ?)(?P<week>\d\d?)",
        rf"(?:w|kw|cw|week|calendar week|woche|kalenderwoche) ?(?P<week>\d\d?)(?: of |,? |[/-]){_YEAR}",
        rf"{_YEAR}-(?P<month>\d\d)",
        rf"(?P<month>\d\d?)[./]{_YEAR}",
        rf"{_MONTH_NAME} {_YEAR}",
        rf"{_YEAR}-(?P<month>\d\d)-(?P<day>\d\d)",
        rf"(?P<day>\d\d?)\. ?(?P<month>\d\d?)\. ?{_YEAR}",
        rf"(?P<day>\d\d?)(?:st|nd|rd|th|\.)? {_MONTH_NAME} {_YEAR}",
        rf"{_MONTH_NAME} (?P<day>\d\d?)(?:st|nd|rd|th)?,? {_YEAR}",
    )
)
_DATE = r"\d{4}-\d\d-\d\d|\d\d?\.\d\d?\.\d{4}"
_SPANS = (
    re.compile(rf"(?P<first>{_DATE}) ?- ?(?P<last>{_DATE})", re.ASCII),
    re.compile(
        r"(?:(?:from|between|von|vom|zwischen) )?(?P<first>.+?)"
        r"(?: ?(?:\.\.\.?|[–—]) ?|/| (?:to|until|till|through|bis|and|und|-) )(?P<last>.+)"
    ),
    re.compile(r"(?:since|from|seit|ab) (?P<first>.+)"),
    re.compile(r"(?P<first>.+?) ?\.\.\.?"),
    re.compile(r"(?:(?:until|till|up to|bis) |\.\.\.? ?)(?P<last>.+)"),
)


class Period(NamedTuple):
    """A first and a last day; both belong to it. None: that end is open."""

    first: date | None
    last: date | None

    def __str__(self) -> str:
        """The days in words that `period_of` reads back as the same period."""
        if self.first and self.last:
            return f"{self.first} to {self.last}"
        if self.first:
            return f"since {self.first}"
        return f"until {self.last}" if self.last else "all time"


class Bucket(NamedTuple):
    """A whole unit of time with its name: `2026-10-05`, `2026-W41`, `2026-10`, `2026-Q3` or `2026`."""

    label: str
    first: date
    last: date


class _Span(NamedTuple):
    """A period with two ends."""

    first: date
    last: date


def period_of(words: str, today: date) -> Period:
    """The days that `words` mean, in English or German, on the day `today`; no words mean all time.

    'last 30 days' end with today, and 'previous 30 days' with yesterday. Weeks, months, quarters and years are whole
    ones: 'last 3 months' are the three before this one, as 'last month' is the one before, and 'this quarter' goes to
    its last day. 'since' takes the first day of what follows it, 'until' the last.

    Raises `BadInput` that names the forms.
    """
    found = None
    if len(words) <= _LONGEST:
        said = " ".join(unicodedata.normalize("NFKC", words).lower().split())
        with suppress(ValueError, OverflowError):
            found = _found(said, today)
    if found is None:
        raise BadInput(f"period: {words[:60]!r} is none.", _STEP)
    if found.first and found.last and found.first > found.last:
        raise BadInput(f"period: {words[:60]!r} ends before it begins.", "Say the earlier day first.")
    return found


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


def previous(period: Period, today: date | None = None) -> Period | None:
    """The period of the same length directly before, to compare with; None when an end is open.

    Like is compared with like, and only the days decide, not how they were said. A span of whole months (a month, a
    quarter, a year, any number of months) has as many whole months before it; every other span, an ISO week and
    'YTD' among them, has as many days before it.

    With `today`, a period that is not over counts only up to that day: on the 10th day of this quarter, the period
    before is the first 10 days of the last quarter. Without it, the whole period before.
    """
    if period.first is None or period.last is None:
        return None
    try:
        start = _before(period.first, period.last)
        end = period.first - _DAY
    except (ValueError, OverflowError):
        return None
    if today and period.first <= today < period.last:
        end = min(end, start + (today - period.first))
    return Period(start, end)


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
            first, last = _unit(day, unit)
            found.append(Bucket(_label(first, unit), first, last))
            day = last + _DAY
    except (ValueError, OverflowError):
        raise BadInput("period: it reaches the end of the calendar.", _STEP) from None
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


def _before(first: date, last: date) -> date:
    """The first day of the period before."""
    if first.day == 1 and (last + _DAY).day == 1:
        count = 12 * (last.year - first.year) + last.month - first.month + 1
        return _months_on(first, -count)
    return first - (last - first) - _DAY


def _months_on(month: date, count: int) -> date:
    """The first day of the month so many months later."""
    year, index = divmod(12 * month.year + month.month - 1 + count, 12)
    return date(year, index + 1, 1)


def _months(year: int, month: int, count: int) -> _Span:
    last = month + count - 1
    return _Span(date(year, month, 1), date(year, last, monthrange(year, last)[1]))


def _unit(day: date, unit: Unit) -> _Span:
    """The day, ISO week, month, quarter or year around a day."""
    if unit == "day":
        return _Span(day, day)
    if unit == "week":
        monday = day - timedelta(days=day.weekday())
        return _Span(monday, monday + timedelta(days=6))
    months = _MONTHS_OF[unit]
    return _months(day.year, (day.month - 1) // months * months + 1, months)


def _label(first: date, unit: Unit) -> str:
    if unit == "week":
        year, week, _ = first.isocalendar()
        return f"{year:04}-W{week:02}"
    if unit == "quarter":
        return f"{first.year:04}-Q{first.month // 3 + 1}"
    return first.isoformat()[: {"day": 10, "month": 7, "year": 4}[unit]]


def _found(said: str, today: date) -> Period | None:
    """One of the forms, or a span with such a form at one end or at both."""
    if said in _ALL:
        return Period(None, None)
    if single := _single(said, today):
        return Period(*single)
    for form in _SPANS:
        if match := form.fullmatch(said):
            ends = {side: _single(part, today) for side, part in match.groupdict().items()}
            if all(ends.values()):
                first, last = ends.get("first"), ends.get("last")
                return Period(first.first if first else None, last.last if last else None)
    return None


def _single(said: str, today: date) -> _Span | None:
    """What one end of a span, or a whole one, may be."""
    said = _FILLER.sub("", said, count=1)
    return _relative(said, today) or _named(said)


def _relative(said: str, today: date) -> _Span | None:
    """`today`, `last 7 days`, `this quarter` and the like."""
    if said in ("today", "heute"):
        return _Span(today, today)
    if said in ("yesterday", "gestern"):
        return _Span(today - _DAY, today - _DAY)
    if match := _TO_DATE.fullmatch(said):
        return _Span(_unit(today, _UNITS[next(filter(None, match.groups()))[0]]).first, today)
    if match := _THIS.fullmatch(said):
        return _unit(today, _UNITS[match["unit"][0]])
    if match := _LAST.fullmatch(_COMPOUND.sub("vorige ", said)):
        unit = _UNITS[match["unit"][0]]
        through_today = unit == "day" and bool(match["until_today"] and match["count"])
        return _last(today, int(match["count"] or 1), unit, through_today)
    return None


def _last(today: date, count: int, unit: Unit, through_today: bool) -> _Span | None:
    """So many units that end before the current one, or days that end with today."""
    if not 0 < count <= _MOST_DAYS:
        return None
    end = today if through_today else _unit(today, unit).first - _DAY
    last = _unit(end, unit)
    if unit in _MONTHS_OF:
        return _Span(_months_on(last.first, -(count - 1) * _MONTHS_OF[unit]), end)
    return _Span(last.first - (count - 1) * (last.last - last.first + _DAY), end)


def _named(said: str) -> _Span | None:
    """`2026`, `2026-Q3`, `2026-W41`, `2026-10`, `2026-10-05` and the same in words."""
    match = next(filter(None, (form.fullmatch(said) for form in _NAMED)), None)
    if match is None:
        return None
    parts = match.groupdict()
    year = int(parts["year"])
    if "week" in parts:
        return _unit(date.fromisocalendar(year, int(parts["week"]), 1), "week")
    if "quarter" in parts:
        return _months(year, 3 * int(parts["quarter"]) - 2, 3)
    if not {"month", "name"} & parts.keys():
        return _months(year, 1, 12)
    month = int(parts["month"]) if "month" in parts else _month(parts["name"])
    return _unit(date(year, month, int(parts["day"])), "day") if "day" in parts else _months(year, month, 1)


def _month(name: str) -> int:
    """The number of a month by its name or the beginning of it; 0 for no month."""
    found = (number for number, names in enumerate(_MONTH_NAMES, 1) if any(each.startswith(name) for each in names))
    return next(found, 0)
