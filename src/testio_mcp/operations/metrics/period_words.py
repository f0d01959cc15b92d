"""Periods as people write them, in English and German, as days that both belong to them.

A period is relative to today (`last two weeks`, `30d`, `this half-year`), a unit by its name (`Q3`, `FY26`), or a
span with such a form at one end or at both (`Q1 to Q3 2026`, `since October`).
"""

import re
import unicodedata
from contextlib import suppress
from datetime import date, timedelta
from difflib import get_close_matches

from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.calendar_names import (
    AmbiguousPeriod,
    Context,
    Kind,
    format_kind,
    has_year,
    is_name_without_year,
    kind_around,
    kind_before,
    kind_ends,
    read_last_name,
    read_name,
    read_this_name,
    refuse_count_or_name,
    unit_of,
)
from testio_mcp.operations.metrics.calendar_units import MONTHS_OF, Period

EXAMPLES = (
    "today",
    "yesterday",
    "last 7 days",
    "last 30 days",
    "last 90 days",
    "last two weeks",
    "last 3 months",
    "this week",
    "last week",
    "this month",
    "last month",
    "this quarter",
    "last quarter",
    "this year",
    "last year",
    "last fiscal year",
    "YTD",
    "all time",
    "heute",
    "gestern",
    "letzte 7 Tage",
    "letzte 30 Tage",
    "letzte zwei Wochen",
    "letzte 3 Monate",
    "diese Woche",
    "dieser Monat",
    "dieses Quartal",
    "dieses Jahr",
    "letzte Woche",
    "letztes Quartal",
    "letztes Jahr",
    "letztes Geschäftsjahr",
    "Vormonat",
    "seit Jahresbeginn",
    "gesamt",
)
"""The forms without numbers of one's own, and the usual of the others."""
FORMS = (
    "'last 30 days', 'this quarter', 'last two weeks', '30d', 'YTD', '2026-Q3', 'H1 2026', 'FY26', '2026-W41', "
    "'October 2026', '2026', '2026-10-05', 'since 2026-10-05', '2026-10-01 to 2026-10-31' or 'all time'; "
    "German works too ('letzte 30 Tage', 'KW 41 2026', '1.10.2026 bis 31.10.2026')."
)
_LONGEST = 100
_MOST_DAYS = 36_500
_DAY = timedelta(days=1)

ALL_TIME = "all time"
_ALL = ("all", "all time", "alles", "gesamt", "insgesamt", "gesamter zeitraum", "gesamte zeit")
_UNIT_WORDS: dict[Kind, str] = {
    "day": r"days?|tag(?:en?|es|s)?",
    "week": r"weeks?|wochen?",
    "month": r"months?|monat(?:en?|es|s)?",
    "quarter": r"quarters?|quartal(?:en?|es|s)?",
    "half": r"half(?:[ -]?years?)?|halves|halbjahr(?:en?|es|s)?",
    "year": r"years?|jahr(?:en?|es|s)?",
    "fiscal_quarter": r"(?:fiscal|financial|business) quarters?|(?:geschäfts|fiskal)quartal(?:en?|es|s)?|fq",
    "fiscal_year": r"(?:fiscal|financial|business) years?|(?:geschäfts|wirtschafts|fiskal)jahr(?:en?|es|s)?|fy",
}
_SHORT_UNITS: dict[str, Kind] = {
    **dict.fromkeys(("d", "t"), "day"),
    **dict.fromkeys(("w", "wk", "wks"), "week"),
    **dict.fromkeys(("m", "mo", "mos", "mon", "mth", "mths"), "month"),
    **dict.fromkeys(("q", "qtr", "qtrs"), "quarter"),
    **dict.fromkeys(("y", "yr", "yrs", "j"), "year"),
}
_UNIT = "(?:" + "|".join(f"(?P<{kind}>{words})" for kind, words in _UNIT_WORDS.items()) + ")"
_SHORT_UNIT = f"(?P<short>{'|'.join(_SHORT_UNITS)})"
_COUNT = r"(?P<count>\d{1,5})"
_THIS = r"(?:this|current|diese[rsmn]?|aktuelle[rsmn]?|laufende[rsmn]?)"
_TO_TODAY = r"last|past|rolling|trailing|letzte[rsmn]?|vergangene[rsmn]?|zurückliegende[rsmn]?"
_BEFORE = r"previous|prior|vor(?:her)?ige[rsmn]?"

_ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TENS = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TEENS = ("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_EINS = ("ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
_ZEHNER = ("zehn", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
_ZEHN = ("elf", "zwölf", "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn")


def _number_words() -> dict[str, int]:
    """Numbers in words, from one to a hundred."""
    numbers = {word: at for words in (_ONES, _EINS) for at, word in enumerate(words, 1)}
    numbers |= {word: at for words in (_TEENS, _ZEHN) for at, word in enumerate(words, 11)}
    numbers |= {word: 10 * at for words in (_TENS, _ZEHNER) for at, word in enumerate(words, 1)}
    for at in range(1, 9):
        for unit, (one, eins) in enumerate(zip(_ONES, _EINS, strict=True), 1):
            written = (f"{_TENS[at]} {one}", f"{_TENS[at]}-{one}", f"{eins}und{_ZEHNER[at]}")
            numbers |= dict.fromkeys(written, 10 * (at + 1) + unit)
    numbers |= dict.fromkeys(("eine", "einer", "einem", "einen", "eines"), 1)
    numbers |= dict.fromkeys(("hundred", "one hundred", "a hundred", "hundert", "einhundert"), 100)
    return numbers | {"zwo": 2, "dreissig": 30, "dozen": 12, "a dozen": 12, "dutzend": 12}


_NUMBERS = _number_words()
_LETTER = "a-zäöüß"
_NUMBER_WORD = re.compile(rf"(?<![{_LETTER}])(?:{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})(?![{_LETTER}])")
_ORDINALS = {
    **dict.fromkeys(("first", "erste"), "1."),
    **dict.fromkeys(("second", "zweite"), "2."),
    **dict.fromkeys(("third", "dritte"), "3."),
    **dict.fromkeys(("fourth", "vierte"), "4."),
}
_ORDINAL = re.compile(
    r"(?<![a-z])(first|second|third|fourth|(?:erste|zweite|dritte|vierte)(?=[rsmn]? ))[rsmn]?"
    r"(?= (?:fiscal |geschäfts)?(?:q|quart|half|h|halbj|hälfte|jahreshälfte))"
)
_REWRITES = (
    (re.compile(r"half a year|halbe[sn]? jahr(?:es)?"), "6 months"),
    (re.compile(r"(?:1 )?fortnight"), "14 days"),
    (re.compile(r"(?<![a-z])an? (?=(?:day|week|month|quarter|half|year)(?![a-z]))"), "1 "),
    (re.compile(r"(?<![a-z])(?:ttm|ltm)(?![a-z])"), "last 12 months"),
    (re.compile(r"^l(?=\d)"), "last "),
    (re.compile(r"^p(?=\d+[dwmy]$)"), ""),
    (re.compile(r"^(last|past|previous)(?=\d)"), r"\1 "),
)
_HYPHENS = re.compile(r"(?<=[a-z])-(?=[a-z0-9])|(?<=\d)-(?=[a-z]{3})")
_FILLER = re.compile(
    r"(?:(?:in|during|within|over|for|on|im|am|für|innerhalb) )?"
    r"(?:(?:all of|the whole|whole|the entire) |(?:das|den) ganze[n]? |ganzes )?"
    r"(?:(?:the|den|dem|der|des|die|das|zum) )?(?=.)"
)
_COMPOUND = re.compile(r"vor(?=(?:tag|woche|monat|quartal|halbjahr|jahr)$)")
_TO_DATE = re.compile(
    r"(?:(?P<letter>[wmqy]|fy|fiscal y)td|(?P<words>week|month|quarter|year|fiscal year)[ -]to[ -]date"
    r"|seit (?P<seit>woche|monat|quartal|halbjahr|jahr|geschäftsjahr)e?[ns]?(?:beginn|anfang))"
)
_TO_DATE_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("w", "week", "woche"), "week"),
    **dict.fromkeys(("m", "month", "monat"), "month"),
    **dict.fromkeys(("q", "quarter", "quartal"), "quarter"),
    "halbjahr": "half",
    **dict.fromkeys(("y", "year", "jahr"), "year"),
    **dict.fromkeys(("fy", "fiscal y", "fiscal year", "geschäftsjahr"), "fiscal_year"),
}
_THIS_UNIT = re.compile(rf"{_THIS} {_UNIT}(?P<so_far> so far| to date| bisher| bis jetzt)?", re.ASCII)
_LAST_UNITS = re.compile(
    rf"(?:(?P<until_today>{_TO_TODAY})|{_BEFORE}) (?:{_COUNT} ?)?{_UNIT}", re.ASCII
)  # fmt: skip
_LAST_SHORT = re.compile(rf"(?:(?P<until_today>{_TO_TODAY})|{_BEFORE}) {_COUNT} ?{_SHORT_UNIT}", re.ASCII)
_SOME_UNITS = re.compile(rf"{_COUNT} ?{_UNIT}", re.ASCII)
_SOME_SHORT = re.compile(rf"{_COUNT} ?{_SHORT_UNIT}", re.ASCII)
_AGO = (re.compile(rf"{_COUNT} {_UNIT} ago", re.ASCII), re.compile(rf"vor {_COUNT} {_UNIT}", re.ASCII))
_BEFORE_LAST = (re.compile(rf"{_UNIT} before last"), re.compile(rf"vorletzte[rsmn]? {_UNIT}"))
_SINCE_BEGINNING = re.compile(
    rf"(?:since|from|seit|ab) (?:the |dem )?(?:beginning|start|anfang|beginn) (?:of|des|der)"
    rf"(?: the| this| dieses| dieser)? {_UNIT}"
)
_VAGUE = re.compile(
    rf"(?:(?:{_TO_TODAY}|{_BEFORE}) )?(?:a |1 )?"
    rf"(?:(?P<two>couple(?: of)?)|few|several|paar|einige[nr]?) {_UNIT}"
)
_LAST_NAME = re.compile(rf"(?:{_TO_TODAY}|{_BEFORE}) (?P<name>.+)")
_THIS_NAME = re.compile(rf"{_THIS} (?P<name>.+)")
_DATE = r"\d{4}-\d\d-\d\d|\d\d?\.\d\d?\.\d{4}"
_SPANS = (
    re.compile(rf"(?P<first>{_DATE}) ?- ?(?P<last>{_DATE})", re.ASCII),
    re.compile(
        r"(?:(?:from|between|von|vom|zwischen) )?(?P<first>.+?)"
        r"(?: ?(?:\.\.\.?|[–—]) ?|/| (?:to|until|till|through|thru|bis|and|und|-) )(?P<last>.+)"
    ),
    re.compile(r"(?:since|from|seit|ab) (?P<first>.+)"),
    re.compile(r"(?P<first>.+?) ?\.\.\.?"),
    re.compile(r"(?:(?:until|till|up to|bis) |\.\.\.? ?)(?P<last>.+)"),
    re.compile(r"(?P<first>[^-]+)-(?P<last>[^-]+)"),
)
_YEAR_AT_END = re.compile(r"(?P<rest>.*?),? ?(?P<year>\d{4}|['’]\d\d)", re.ASCII)
_DAY_ALONE = re.compile(r"\d\d?\.?", re.ASCII)
_DAY_FIRST = re.compile(r"\d\d?(?:\.|st|nd|rd|th)? ?(?P<rest>.+)", re.ASCII)
_HEAD_AND_NUMBER = re.compile(rf"(?P<head>.*[{_LETTER}][.]? ?)\d\d?(?:st|nd|rd|th)?", re.ASCII)
_NUMBER_ALONE = re.compile(r"\d\d?(?:st|nd|rd|th)?(?:,? ?(?:\d{4}|['’]\d\d))?", re.ASCII)


def period_of(words: str, today: date, fiscal_start: int = 1) -> Period:
    """The days that `words` mean, in English or German, on the day `today`.

    'last 30 days' end with today, and 'previous 30 days' with yesterday. Weeks, months, quarters and years are whole
    ones: 'last 3 months' are the three before this one, as 'last month' is the one before, and 'this quarter' goes to
    its last day. 'since' takes the first day of what follows it, 'until' the last. A name without a year ('Q3') is
    the one of this year that has begun. `fiscal_start` is the month in which the fiscal year begins, which is called
    by the year in which it ends.

    Raises `BadInput` that names the forms, or the two readings where there are two. No words are no period, so that
    nothing is all time by accident.
    """
    if not words.strip():
        raise BadInput("period: it is empty.", f"Write {ALL_TIME!r} for all of it, or leave it out.")
    found = None
    if len(words) <= _LONGEST:
        try:
            with suppress(ValueError, OverflowError):
                found = _read(_normalise(words), Context(today, fiscal_start))
        except AmbiguousPeriod as ambiguous:
            raise _refuse_readings(words, ambiguous, today, fiscal_start) from None
    if found is None:
        nearest = get_close_matches(words[:_LONGEST].strip().lower(), EXAMPLES, n=1, cutoff=0.7)
        raise BadInput(f"{words[:60]!r} is not a period.", f"Try {''.join(f'{near!r}, ' for near in nearest)}{FORMS}")
    if found.first and found.last and found.first > found.last:
        raise BadInput(f"period: {words[:60]!r} ends before it begins.", "Write the earlier day first.")
    return found


def _refuse_readings(words: str, ambiguous: AmbiguousPeriod, today: date, fiscal_start: int) -> BadInput:
    readings = (f"{form!r} for {period_of(form, today, fiscal_start).in_words()}" for form in ambiguous.readings)
    return BadInput(
        f"period: {words[:60]!r} can be read in two ways.",
        f"Write {' or '.join(readings)}. {ambiguous.hint}".rstrip(),
    )


def _normalise(words: str) -> str:
    """Words in small letters, with single spaces, and numbers in digits."""
    text = " ".join(unicodedata.normalize("NFKC", words).lower().replace("_", " ").split())
    if re.match(rf"(?:{_TO_TODAY}|{_BEFORE}|{_THIS})[ -]", text):
        text = _HYPHENS.sub(" ", text)
    text = _ORDINAL.sub(lambda word: _ORDINALS[word[1]], text)
    for form, plain in _REWRITES[:1]:
        text = form.sub(plain, text)
    text = _NUMBER_WORD.sub(lambda word: str(_NUMBERS[word[0]]), text)
    for form, plain in _REWRITES[1:]:
        text = form.sub(plain, text)
    return text


def _read(words: str, context: Context) -> Period | None:
    """One of the forms, or a span with such a form at one end or at both."""
    if words in _ALL:
        return Period(None, None)
    if match := _SINCE_BEGINNING.fullmatch(words):
        return kind_around(context.today, _kind_of(match), context).cut_after(context.today)
    if single := _read_single(words, context):
        return single
    for form in _SPANS:
        if match := form.fullmatch(words):
            ends = match.groupdict()
            if "first" in ends and "last" in ends:
                found = _read_span(ends["first"], ends["last"], context)
            else:
                single = _read_single(ends.get("first") or ends["last"], context._replace(is_since="first" in ends))
                found = single and _join(single if "first" in ends else None, single if "last" in ends else None)
            if found:
                return found
    return None


def _read_span(first: str, last: str, context: Context) -> Period | None:
    """From one form to another, which may share a month, a year or the word before a number."""
    first, last = (_FILLER.sub("", each, count=1) for each in (first, last))
    if _NUMBER_ALONE.fullmatch(last) and (shared := _HEAD_AND_NUMBER.fullmatch(first)):  # Oct 1-15, KW 40-42
        last = shared["head"] + last
    if _DAY_ALONE.fullmatch(first) and (shared := _DAY_FIRST.fullmatch(last)):  # 1.-15. October
        first = f"{first.rstrip('.')}. {shared['rest'].strip()}"
    year = _YEAR_AT_END.fullmatch(last)
    if year and not has_year(first) and is_name_without_year(first):  # Q1 to Q3 2026
        return _borrow_year(first, last, year["year"], context)
    begin, end = _read_single(first, context), _read_single(last, context)
    return _join(begin, end) if begin and end else None


def _borrow_year(first: str, last: str, year: str, context: Context) -> Period | None:
    """A span whose beginning has no year: that of its end, or the one before where it would begin after it."""
    end = _read_single(last, context)
    number = int(year.strip("'’")) + (0 if len(year) == 4 else 2000)
    for each in (number, number - 1):
        begin = _read_single(f"{first} {each:04}", context)
        if begin and end and begin.first and end.last and begin.first <= end.last:
            return _join(begin, end)
    return None


def _join(first: Period | None, last: Period | None) -> Period:
    """From the first day of one to the last day of another; in a unit of the calendar where both are in one."""
    if first is None or last is None:
        return Period(first.first if first else None, last.last if last else None)
    unit = first.unit if first.unit == last.unit else None
    if first.unit in MONTHS_OF and last.unit in MONTHS_OF:
        unit = first.unit if MONTHS_OF[first.unit] < MONTHS_OF[last.unit] else last.unit
    return Period(first.first, last.last, unit, last.whole_last if unit else None)


def _read_single(words: str, context: Context) -> Period | None:
    """What one end of a span, or a whole one, may be."""
    words = _FILLER.sub("", words, count=1)
    refuse_count_or_name(words, context)
    return (
        _read_day(words, context)
        or _read_current(words, context)
        or _read_last(words, context)
        or _read_ago(words, context)
        or _read_relative_name(words, context)
        or read_name(words, context)
    )


def _read_day(words: str, context: Context) -> Period | None:
    """`today`, `yesterday`, `vorgestern`."""
    days = {
        **dict.fromkeys(("today", "heute"), 0),
        **dict.fromkeys(("yesterday", "gestern", "vortag"), 1),
        **dict.fromkeys(("vorgestern", "day before yesterday"), 2),
    }
    if words not in days:
        return None
    day = context.today - days[words] * _DAY
    return Period(day, day)


def _read_current(words: str, context: Context) -> Period | None:
    """`this quarter`, `this fiscal year so far`, `YTD`."""
    if match := _TO_DATE.fullmatch(words):
        kind = _TO_DATE_KINDS[match["letter"] or match["words"] or match["seit"]]
        return kind_around(context.today, kind, context).cut_after(context.today)
    if match := _THIS_UNIT.fullmatch(words):
        period = kind_around(context.today, _kind_of(match), context)
        return period.cut_after(context.today) if match["so_far"] else period
    return None


def _kind_of(match: re.Match[str]) -> Kind:
    """The unit that was written."""
    parts = match.groupdict()
    return (
        _SHORT_UNITS[parts["short"]] if parts.get("short") else next(kind for kind in _UNIT_WORDS if parts.get(kind))
    )


def _read_last(words: str, context: Context) -> Period | None:
    """`last 7 days`, `previous quarter`, `30d`, `two weeks`."""
    text = _COMPOUND.sub("vorige ", words)
    for form in (_LAST_UNITS, _LAST_SHORT, _SOME_UNITS, _SOME_SHORT):
        if match := form.fullmatch(text):
            kind, parts = _kind_of(match), match.groupdict(default="")
            is_until_today = bool(parts.get("until_today", "last") and parts["count"])
            return _count_back(int(parts["count"] or 1), kind, is_until_today and kind == "day", context)
    if match := _VAGUE.fullmatch(words):
        fewest, unit = 2 if match["two"] else 3, _kind_of(match).replace("_", " ").replace("half", "half-year")
        raise AmbiguousPeriod(f"last {fewest} {unit}s", f"last {fewest + 1} {unit}s")
    if match := next(filter(None, (form.fullmatch(words) for form in _BEFORE_LAST)), None):
        kind = _kind_of(match)
        return kind_around(kind_before(kind_ends(context.today, kind, context)[0], 2, kind), kind, context)
    return None


def _count_back(count: int, kind: Kind, through_today: bool, context: Context) -> Period | None:
    """So many units that end before the current one, or days that end with today."""
    if not 0 < count <= _MOST_DAYS:
        return None
    end = context.today if through_today else kind_ends(context.today, kind, context)[0] - _DAY
    first = kind_before(kind_ends(end, kind, context)[0], count - 1, kind)
    return Period(first, end, unit_of(kind, context))


def _read_ago(words: str, context: Context) -> Period | None:
    """`3 days ago`. Raises `AmbiguousPeriod` for longer units, of which some mean the day and others the unit."""
    for form in _AGO:
        if match := form.fullmatch(words):
            kind, count = _kind_of(match), int(match["count"])
            if kind == "day":
                day = context.today - count * _DAY
                return Period(day, day)
            first = kind_before(kind_ends(context.today, kind, context)[0], count, kind)
            day = first + (context.today - kind_ends(context.today, kind, context)[0])
            unit = kind_around(first, kind, context)
            raise AmbiguousPeriod(format_kind(unit, kind, context), str(min(day, unit.last or day)))
    return None


def _read_relative_name(words: str, context: Context) -> Period | None:
    """`last October`, `this Q3`."""
    if match := _THIS_NAME.fullmatch(words):
        return read_this_name(match["name"], context)
    if match := _LAST_NAME.fullmatch(words):
        return read_last_name(match["name"], context)
    return None
