"""Buckets of time in which nothing happened: they are rows too."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, cast

from testio_mcp.operations.metrics.engine import Key
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.words import Counts, Value, metric
from testio_mcp.operations.periods import Bucket, Period, Unit, buckets

_MOST = 5_000
"""Rows beyond which nothing is filled in: nobody reads so many."""
Rows = dict[tuple[Key, ...], dict[str, Value]]


def unit_of(name: str, first: date) -> Bucket:
    """The bucket of a time dimension that begins on this day."""
    return buckets(Period(first, first), cast(Unit, name))[0]


def aligned(question: Question, rows: Mapping[tuple[Key, ...], Any], earlier: Rows) -> Rows:
    """The rows of the previous period under the keys of this one: the first bucket beside the first, and so on."""
    if question.unit is None:
        return earlier
    place = question.by.index(question.unit)
    now, then = (sorted({day for key in found if isinstance(day := key[place], date)}) for found in (rows, earlier))
    beside: dict[Key, date] = dict(zip(then, now, strict=False))
    return {
        (*key[:place], beside[key[place]], *key[place + 1 :]): values
        for key, values in earlier.items()
        if key[place] in beside
    }


def filled(question: Question, rows: Mapping[tuple[Key, ...], dict[str, Value]]) -> Rows:
    """The rows with every bucket from the first to the last for each combination of the other dimensions.

    The first and the last are those of the period, or where it is open, of the data.
    """
    if question.unit is None:
        return dict(rows)
    place = question.by.index(question.unit)
    found = [key[place] for key in rows]
    days = [day for day in found if isinstance(day, date)]
    first = question.start.astimezone(question.zone).date() if question.start else min(days, default=None)
    last = (question.end - timedelta(microseconds=1)).astimezone(question.zone).date() if question.end else None
    last = last or max(days, default=None)
    if first is None or last is None or first > last:
        return dict(rows)
    units = [bucket.first for bucket in buckets(Period(first, last), cast(Unit, question.unit))]
    others = dict.fromkeys((key[:place], key[place + 1 :]) for key in rows)
    if len(question.by) == 1:
        others = {((), ()): None}
    if len(others) * len(units) > _MOST:
        return dict(rows)
    empty = {name: metric(name).value(Counts()) for name in question.metrics}
    every: Rows = {(*before, unit, *after): dict(empty) for before, after in others for unit in units}
    return every | dict(rows)
