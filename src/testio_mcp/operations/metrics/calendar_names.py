"""Units of the calendar by their names: `Q3`, `H1 2026`, `KW 41`, `October`, `5.10.`, `FY26`, with a year or without.

A name without a year means the latest of that name that has begun. Where that year is not the current one, where
quarters of the calendar and of the fiscal year differ, and where a date can be read in two orders, there are two
readings, and `AmbiguousPeriod` names both.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from typing import Literal, NamedTuple

from testio_mcp.operations.metrics.calendar_units import Period, Unit, format_unit, month_after, unit_ends

Kind = Literal["day", "week", "month", "quarter", "half", "year", "fiscal_quarter", "fiscal_half", "fiscal_year"]
"""Units that people name; a half is half a year, and fiscal ones begin with the fiscal year."""

_MONTHS_OF: dict[Kind, int] = {
    "month": 1, "quarter": 3, "half": 6, "year": 12, "fiscal_quarter": 3, "fiscal_half": 6, "fiscal_year": 12,
}  # fmt: skip
_DAY = timedelta(days=1)
_RECENT_YEARS = 5
"""How far back a number of two digits behind a month is taken for a year."""
_MOST_YEARS_BETWEEN = 9
"""The most years from one leap day, or week 53, to the next."""
_MONTHS = (
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
_MONTH_NUMBERS = {
    name[:length]: number
    for number, names in enumerate(_MONTHS, 1)
    for name in names
    for length in range(3, len(name) + 1)
}
_WEEKDAYS = {
    name: number
    for number, names in enumerate(
        (
            ("monday", "montag"), ("tuesday", "dienstag"), ("wednesday", "mittwoch"), ("thursday", "donnerstag"),
            ("friday", "freitag"), ("saturday", "samstag", "sonnabend"), ("sunday", "sonntag"),
        )
    )
    for name in names
}  # fmt: skip
_NAME = rf"(?P<name>{'|'.join(sorted(_MONTH_NUMBERS, key=len, reverse=True))})\.?"
_FISCAL = r"(?:fy|fiscal year|financial year|business year|gj|wj|(?:geschäfts|wirtschafts|fiskal)jahr(?:es)?)"
_FISCAL_YEAR = rf"{_FISCAL}[ -]?['’]?(?P<year>\d{{4}}|\d\d)(?:[/-](?P<to>\d{{4}}|\d\d))?"
_LINK = r"(?:,? (?:of |in |im |von |des )?(?:the |year |jahr(?:es)? )?|[/-]| ?)"
_THIS_YEAR = r"(?:this|current|diese[smn]|aktuellen|laufenden)"
_LAST_YEAR = r"(?:last|previous|past|letzte[smn]|vorigen|vergangenen)"


def _compile(form: str) -> re.Pattern[str]:
    return re.compile(form, re.ASCII)


_NAMES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("quarter", _compile(r"(?:q|qtr|quarter|quartal) ?(?P<number>[1-4])")),
    ("quarter", _compile(r"(?P<number>[1-4]) ?q")),
    ("quarter", _compile(r"(?P<number>[1-4])(?:\.|st|nd|rd|th) ?(?:quarter|qtr|q|quartal(?:e?s)?)")),
    ("half", _compile(r"(?:h|hj|half|halbjahr) ?(?P<number>[12])")),
    ("half", _compile(r"(?P<number>[12]) ?h")),
    ("half", _compile(r"(?P<number>[12])(?:\.|st|nd) ?(?:half(?:[ -]?year)?|h|hj\.?|halbjahr(?:es)?)")),
    ("half", _compile(r"(?P<number>[12])\. ?(?:jahres)?hälfte")),
    ("fiscal_quarter", _compile(r"(?:fq|fiscal q|fiscal quarter|geschäftsquartal) ?(?P<number>[1-4])")),
    ("fiscal_quarter", _compile(r"(?P<number>[1-4])(?:\.|st|nd|rd|th) ?(?:fiscal quarter|geschäftsquartal)")),
    ("fiscal_half", _compile(r"(?:fh|fiscal h|fiscal half) ?(?P<number>[12])")),
    ("week", _compile(r"(?:w|kw|cw|wk|week|calendar week|woche|kalenderwoche) ?(?P<number>\d\d?)")),
    ("week", _compile(r"(?P<number>\d\d?)\. ?(?:kw|kalenderwoche|woche)")),
    ("month", _compile(_NAME)),
    ("day", _compile(rf"(?P<number>\d\d?)(?:st|nd|rd|th|\.)? (?:of )?{_NAME}")),
    ("day", _compile(rf"{_NAME} (?P<number>\d\d?)(?:st|nd|rd|th)?")),
    ("day", _compile(r"(?P<number>\d\d?)\. ?(?P<month>\d\d?)\.")),
)  # fmt: skip
_WITH_YEAR = (
    _compile(rf"(?P<core>.+?){_LINK}(?:(?P<year>\d{{4}})|['’](?P<short>\d\d))"),
    _compile(r"(?P<year>\d{4})[ /-]?(?P<core>.+)"),
    _compile(r"(?P<core>.+?)(?P<link>[ /-]?)(?P<plain>\d\d)"),
)
_WITH_THIS_YEAR = _compile(
    rf"(?P<core>.+?) (?:of |in |im |von |des )?(?:(?P<this>{_THIS_YEAR})|{_LAST_YEAR}) (?:year|jahr(?:es|e)?)"
)
_WHOLE_FISCAL_YEAR = _compile(_FISCAL_YEAR)
_WITH_FISCAL_YEAR = (
    _compile(rf"(?P<core>[qh1-4].*?){_LINK}{_FISCAL_YEAR}"),
    _compile(rf"{_FISCAL_YEAR}[ /-]?(?P<core>[qh1-4].*)"),
    _compile(r"(?P<core>f.+?) (?P<year>\d{4})(?P<to>)"),
)
_MONTH_AND_NUMBER = _compile(rf"{_NAME}[ -](?P<number>\d\d)")
_HINT = "TESTIO_FISCAL_YEAR_STARTS says in which month your fiscal year begins."
_FULL_YEAR = _compile(
    r"(?:(?:calendar |the )?year |(?:kalender)?jahr |cy ?)?(?P<year>\d{4})|cy ?['’]?(?P<short>\d\d)"
)
_DATES = (
    _compile(r"(?P<year>\d{4})-(?P<month>\d\d)"),
    _compile(r"(?P<month>\d\d?)[./](?P<year>\d{4})"),
    _compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"),
    _compile(r"(?P<year>\d{4})(?P<sep>[./])(?P<month>\d\d?)(?P=sep)(?P<day>\d\d?)"),
    _compile(r"(?P<day>\d\d?)\. ?(?P<month>\d\d?)\. ?(?P<year>\d{4}|\d\d)"),
)
_ANY_ORDER = (
    _compile(r"(?P<one>\d\d?)/(?P<two>\d\d?)/(?P<year>\d{4}|\d\d)"),
    _compile(r"(?P<one>\d\d?)-(?P<two>\d\d?)-(?P<year>\d{4})"),
)
_TWO_NUMBERS = _compile(r"(?P<one>\d\d?)/(?P<two>\d\d?)")
_COUNT_OR_NAME = _compile(r"(?P<count>[1-4]) ?q")


class Context(NamedTuple):
    """When words are read, the month in which the fiscal year begins, and whether a name stands behind `since`."""

    today: date
    fiscal_start: int = 1
    is_since: bool = False


class AmbiguousPeriod(Exception):
    """Words with two readings, each in the form that has no other; `hint` says what else decides between them."""

    def __init__(self, first: str, second: str, hint: str = "") -> None:
        super().__init__(first, second)
        self.readings = (first, second)
        self.hint = hint


class _Name(NamedTuple):
    """A unit without its year: the third quarter, week 41, October, 5 October."""

    kind: Kind
    number: int
    month: int = 0


def kind_ends(day: date, kind: Kind, context: Context) -> tuple[date, date]:
    """The first and the last day of the unit around a day."""
    if kind == "day" or kind == "week":
        return unit_ends(day, kind)
    offset = context.fiscal_start - 1 if kind.startswith("fiscal") else 0
    count = _MONTHS_OF[kind]
    months = 12 * day.year + day.month - 1 - offset
    year, month = divmod(months // count * count + offset, 12)
    first = date(year, month + 1, 1)
    last_year, last_month = divmod(12 * year + month + count - 1, 12)
    return first, unit_ends(date(last_year, last_month + 1, 1), "month")[1]


def kind_around(day: date, kind: Kind, context: Context) -> Period:
    """The unit around a day, of the calendar's unit that it is made of; a single day is no unit."""
    return Period(*kind_ends(day, kind, context), unit_of(kind, context))


def kind_before(first: date, count: int, kind: Kind) -> date:
    """The first day of the unit so many units before the one that begins with `first`."""
    if kind in _MONTHS_OF:
        return month_after(first, -count * _MONTHS_OF[kind])
    return first - count * (_DAY if kind == "day" else 7 * _DAY)


def unit_of(kind: Kind, context: Context) -> Unit | None:
    """The largest unit of the calendar of which such a unit is made."""
    if kind == "day":
        return None
    if kind == "week" or kind == "month" or kind == "quarter" or kind == "year":
        return kind
    if kind == "fiscal_year" and context.fiscal_start == 1:
        return "year"
    return "quarter" if kind == "half" or context.fiscal_start % 3 == 1 else "month"


def format_kind(period: Period, kind: Kind, context: Context) -> str:
    """The name of a unit that has no second reading: `2026-H1`, `FY2026-Q3`, `2026-W41`, `2026-10-05`."""
    first = period.first or date.min
    if kind == "half":
        return f"{first.year:04}-H{(first.month + 5) // 6}"
    if not kind.startswith("fiscal"):
        return format_unit(first, unit_of(kind, context) or "day")
    year_first, year_last = kind_ends(first, "fiscal_year", context)
    if kind == "fiscal_year":
        return f"FY{year_last.year:04}"
    number = (12 * (first.year - year_first.year) + first.month - year_first.month) // _MONTHS_OF[kind] + 1
    return f"FY{year_last.year:04}-{'Q' if kind == 'fiscal_quarter' else 'H'}{number}"


def read_name(words: str, context: Context) -> Period | None:
    """The unit that a name means, with a year or without; None for other words.

    Raises `AmbiguousPeriod`, and `ValueError` for a day, week or month that does not exist.
    """
    for read in (_read_date, _read_fiscal, _read_with_year, _read_relative_year, _read_weekday):
        if found := read(words, context):
            return found
    if name := _parse_name(words):
        return _latest(name, context)
    return None


def has_year(words: str) -> bool:
    """Whether words end with a year of four digits, or of two behind an apostrophe."""
    return re.search(r"(?:\d{4}|['’]\d\d)$", words) is not None


def is_name_without_year(words: str) -> bool:
    """Whether words name a unit whose year is missing."""
    return _parse_name(words) is not None


def read_last_name(words: str, context: Context) -> Period | None:
    """The `last October` or `last Q3`: the latest that is over; None for other words.

    Raises `AmbiguousPeriod` where this year's is over: some mean that, others the one of last year.
    """
    if words in _WEEKDAYS:
        return _last_weekday(words, context)
    if (name := _parse_name(words)) is None:
        return None
    year = _year_of_today(name.kind, context)
    current, before = _find_days(name, year, context), _find_days(name, year - 1, context)
    if current.last and current.last < context.today:
        raise AmbiguousPeriod(*(format_kind(each, name.kind, context) for each in (current, before)))
    return before


def read_this_name(words: str, context: Context) -> Period | None:
    """The `this October` or `this Q3`: the one of this year; None for other words."""
    name = _parse_name(words)
    return _find_days(name, _year_of_today(name.kind, context), context) if name else None


def _parse_name(words: str) -> _Name | None:
    for kind, form in _NAMES:
        if match := form.fullmatch(words):
            parts = match.groupdict()
            month = _MONTH_NUMBERS[parts["name"]] if parts.get("name") else int(parts.get("month") or 0)
            return _Name(kind, int(parts.get("number") or month), month)
    return None


def _find_days(name: _Name, year: int, context: Context) -> Period:
    """The unit of that name in a year; fiscal years are called by the year in which they end."""
    kind, number = name.kind, name.number
    if kind == "day":
        day = date(year, name.month, number)
        return Period(day, day)
    if kind == "week":
        return kind_around(date.fromisocalendar(year, number, 1), kind, context)
    if kind.startswith("fiscal"):
        begin = date(year - (context.fiscal_start > 1), context.fiscal_start, 1)
    else:
        begin = date(year, 1, 1)
    return kind_around(month_after(begin, (number - 1) * _MONTHS_OF[kind]), kind, context)


def _year_of_today(kind: Kind, context: Context) -> int:
    """The year of today: of a week the ISO year, of fiscal units the fiscal year."""
    if kind == "week":
        return context.today.isocalendar().year
    if kind.startswith("fiscal"):
        return kind_ends(context.today, "fiscal_year", context)[1].year
    return context.today.year


def _latest(name: _Name, context: Context) -> Period:
    """The unit of that name without a year."""
    if name.kind in ("quarter", "half") and context.fiscal_start != 1:
        fiscal = name._replace(kind="fiscal_quarter" if name.kind == "quarter" else "fiscal_half")
        raise AmbiguousPeriod(
            *(format_kind(_find_begun(each, context), each.kind, context) for each in (name, fiscal))
        )
    begun = _find_begun(name, context)
    coming = next((each for each in _list_years(name, context, 1) if each.first and each.first > context.today), None)
    if coming and not context.is_since:
        raise AmbiguousPeriod(*(format_kind(each, name.kind, context) for each in (begun, coming)))
    return begun


def _find_begun(name: _Name, context: Context) -> Period:
    """The latest unit of that name that has begun. Raises `ValueError` where none has."""
    years = _list_years(name, context, _MOST_YEARS_BETWEEN)
    if begun := next((each for each in years if each.first and each.first <= context.today), None):
        return begun
    raise ValueError("no year has it")


def _list_years(name: _Name, context: Context, count: int) -> Iterator[Period]:
    """The units of that name in this year and those before it; leap days and week 53 are not in every year."""
    year = _year_of_today(name.kind, context)
    for each in range(year, year - count, -1):
        with suppress(ValueError, OverflowError):
            yield _find_days(name, each, context)


def _read_date(words: str, context: Context) -> Period | None:
    """`2026`, `2026-10`, `2026-10-05`, `5.10.2026`, `5/10/2026`."""
    if match := _FULL_YEAR.fullmatch(words):
        return kind_around(date(_full_year(match["year"] or match["short"]), 1, 1), "year", context)
    for form in _DATES:
        if match := form.fullmatch(words):
            parts = match.groupdict()
            day = date(_full_year(parts["year"]), int(parts["month"]), int(parts.get("day") or 1))
            return kind_around(day, "day" if "day" in parts else "month", context)
    for form in _ANY_ORDER:
        if match := form.fullmatch(words):
            return _read_any_order(int(match["one"]), int(match["two"]), _full_year(match["year"]))
    match = _TWO_NUMBERS.fullmatch(words)
    return _read_two_numbers(int(match["one"]), int(match["two"]), context) if match else None


def _read_two_numbers(one: int, two: int, context: Context) -> Period:
    """`10/26`: a month of a recent year, or a day whose month is the first number or the second one."""
    year, readings = 2000 + two, []
    if 1 <= one <= 12 and context.today.year - _RECENT_YEARS <= year <= context.today.year + 1:
        readings.append(kind_around(date(year, one, 1), "month", context))
    for day, month in dict.fromkeys(((one, two), (two, one))):
        with suppress(ValueError):
            readings.append(_find_begun(_Name("day", day, month), context))
    if len(readings) < 2:
        return readings[0]
    raise AmbiguousPeriod(*(format_kind(each, "month" if each.unit else "day", context) for each in readings[:2]))


def _read_any_order(one: int, two: int, year: int) -> Period:
    """A day whose month may be the first number or the second one."""
    days = []
    for day, month in dict.fromkeys(((one, two), (two, one))):
        try:
            days.append(date(year, month, day))
        except ValueError:
            continue
    if not days:
        raise ValueError("no such day")
    if len(days) == 2:
        raise AmbiguousPeriod(*(day.isoformat() for day in days))
    return Period(days[0], days[0])


def _full_year(digits: str) -> int:
    """A year of two digits is one of this century."""
    return int(digits) + (2000 if len(digits) == 2 else 0)


def _read_fiscal(words: str, context: Context) -> Period | None:
    """`FY26`, `Q3 FY26`, `GJ 2025/26`."""
    if match := _WHOLE_FISCAL_YEAR.fullmatch(words):
        return _find_days(_Name("fiscal_year", 1), _fiscal_year(match, context), context)
    for form in _WITH_FISCAL_YEAR:
        if (match := form.fullmatch(words)) and (name := _parse_name(match["core"])):
            kinds: dict[Kind, Kind] = {"quarter": "fiscal_quarter", "half": "fiscal_half"}
            kind = kinds.get(name.kind, name.kind)
            if kind.startswith("fiscal"):
                return _find_days(name._replace(kind=kind), _fiscal_year(match, context), context)
    return None


def _fiscal_year(match: re.Match[str], context: Context) -> int:
    """The year in which a fiscal year ends. Raises `AmbiguousPeriod` where two years are named and it has one."""
    year = _full_year(match["year"])
    if not match["to"]:
        return year
    end = _full_year(match["to"])
    if end != year + 1:
        raise ValueError("not two years in a row")
    if context.fiscal_start == 1:
        raise AmbiguousPeriod(f"FY{year:04}", f"FY{end:04}", _HINT)
    return end


def _read_with_year(words: str, context: Context) -> Period | None:
    """A name with a year behind or before it."""
    if match := _MONTH_AND_NUMBER.fullmatch(words):
        return _read_month_and_number(match, context)
    for form in _WITH_YEAR:
        if (match := form.fullmatch(words)) and (name := _parse_name(match["core"].rstrip(","))):
            parts = match.groupdict()
            if "plain" not in parts:
                return _find_days(name, _full_year(parts["year"] or parts.get("short") or ""), context)
            links = "/" if name.kind == "week" else " /-"  # KW 40-42 are weeks
            if name.kind != "month" and (not match["core"][-1].isdigit() or (parts["link"] or "?") in links):
                return _find_days(name, _full_year(parts["plain"]), context)
    return None


def _read_month_and_number(match: re.Match[str], context: Context) -> Period | None:
    """`Oct 26`: a day, or a month of a recent year."""
    number, month = int(match["number"]), _MONTH_NUMBERS[match["name"]]
    year = 2000 + number
    if not context.today.year - _RECENT_YEARS <= year <= context.today.year + 1:
        return None if number <= 31 else _find_days(_Name("month", month), year, context)
    if number > 31:
        return _find_days(_Name("month", month), year, context)
    day = _find_begun(_Name("day", number, month), context)
    raise AmbiguousPeriod(str(day.first), f"{year:04}-{month:02}")


def _read_relative_year(words: str, context: Context) -> Period | None:
    """`Q3 last year`, `Oktober dieses Jahres`."""
    match = _WITH_THIS_YEAR.fullmatch(words)
    name = _parse_name(match["core"]) if match else None
    if match is None or name is None:
        return None
    return _find_days(name, _year_of_today(name.kind, context) - (match["this"] is None), context)


def _read_weekday(words: str, context: Context) -> Period | None:
    """A day of the week: the latest one. Raises `AmbiguousPeriod` where it is today."""
    if words not in _WEEKDAYS:
        return None
    back = (context.today.weekday() - _WEEKDAYS[words]) % 7
    day = context.today - back * _DAY
    if back == 0:
        raise AmbiguousPeriod(str(day), str(day - 7 * _DAY))
    return Period(day, day)


def _last_weekday(words: str, context: Context) -> Period:
    """The last Monday. Raises `AmbiguousPeriod` where this week had one: some mean that, others the week before."""
    back = (context.today.weekday() - _WEEKDAYS[words]) % 7
    day = context.today - (back or 7) * _DAY
    if 0 < back <= context.today.weekday():
        raise AmbiguousPeriod(str(day), str(day - 7 * _DAY))
    return Period(day, day)


def refuse_count_or_name(words: str, context: Context) -> None:
    """Raise `AmbiguousPeriod` for `3q`: the third quarter, or three quarters."""
    if match := _COUNT_OR_NAME.fullmatch(words):
        quarter = _find_begun(_Name("quarter", int(match["count"])), context)
        raise AmbiguousPeriod(format_kind(quarter, "quarter", context), f"last {match['count']} quarters")
