"""Buckets of time: the days of each, and rows for those in which nothing happened."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple, cast

from testio_mcp.operations.metrics.definitions import Value
from testio_mcp.operations.metrics.engine import Key, Measured
from testio_mcp.operations.metrics.periods import Bucket, Period, Unit, buckets
from testio_mcp.operations.metrics.questions import Question

MOST_ROWS = 50_000
"""Rows beyond which none are filled in; the answer says so."""
Rows = dict[tuple[Key, ...], dict[str, Value]]


class Stretch(NamedTuple):
    """The days of a bucket that lie in the period asked for; partial where that leaves some out."""

    label: str
    first: date
    last: date
    is_partial: bool


def unit_of(name: str, first: date) -> Bucket:
    """The bucket of a time dimension that begins on this day."""
    return buckets(Period(first, first), cast(Unit, name))[0]


def stretch_of(question: Question, first: date) -> Stretch:
    """What a row of a question by time is about, by the first day of its bucket."""
    bucket = unit_of(question.unit or "", first)
    begins, ends = _days(question)
    first, last = max(bucket.first, begins or bucket.first), min(bucket.last, ends or bucket.last)
    return Stretch(bucket.label, first, last, (first, last) != (bucket.first, bucket.last))


def _days(question: Question) -> tuple[date | None, date | None]:
    """The first and the last day of the period; None where it is open."""
    first = question.start.astimezone(question.zone).date() if question.start else None
    last = (question.end - timedelta(microseconds=1)).astimezone(question.zone).date() if question.end else None
    return first, last


def buckets_of(question: Question, days: Sequence[date] = ()) -> list[date]:
    """The first days of the buckets of a period; where it is open, from the first to the last of some days."""
    first, last = _days(question)
    first, last = first or min(days, default=None), last or max(days, default=None)
    if question.unit is None or first is None or last is None or first > last:
        return []
    return [bucket.first for bucket in buckets(Period(first, last), cast(Unit, question.unit))]


def filled(question: Question, measured: Measured) -> Rows:
    """The rows with every bucket from the first to the last for each combination of the other dimensions.

    The first and the last are those of the period, or where it is open, of the data. More than `MOST_ROWS` are not
    filled in.
    """
    units, others = _grid(question, measured)
    if len(units) * len(others) > MOST_ROWS:
        return dict(measured.rows)
    every: Rows = {}
    for before, after in others:
        keys = [(*before, unit, *after) for unit in units]
        every |= dict.fromkeys(keys, measured.of_nothing(keys[0])) if keys else {}
    return every | measured.rows


def say_unfilled(question: Question, measured: Measured) -> list[str]:
    """A sentence where `filled` left out the rows of buckets without records."""
    units, others = _grid(question, measured)
    number = len(units) * len(others)
    if number <= MOST_ROWS:
        return []
    known = f"Only groups with records are listed and counted; with empty ones there would be over {MOST_ROWS:,}."
    return [known, "A shorter period, a longer unit of time or fewer dimensions show all of them."]


def _grid(question: Question, measured: Measured) -> tuple[list[date], list[tuple[tuple[Key, ...], tuple[Key, ...]]]]:
    """The buckets from the first to the last, and what else there is before and after them in the keys."""
    if question.unit is None:
        return [], []
    place = question.by.index(question.unit)
    units = buckets_of(question, [day for key in measured.rows if isinstance(day := key[place], date)])
    if not units:
        return [], []
    if len(question.by) == 1:
        return units, [((), ())]
    return units, list(dict.fromkeys((key[:place], key[place + 1 :]) for key in measured.rows))
