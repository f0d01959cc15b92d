"""The previous period beside this one: group by group, and what the changes mean."""

from collections.abc import Iterable, Mapping
from datetime import date
from itertools import zip_longest
from typing import NamedTuple

from sqlalchemy import Connection

from testio_mcp.operations.metrics.definitions import Counts, Value, metric
from testio_mcp.operations.metrics.engine import Key, Measured, measure
from testio_mcp.operations.metrics.filling import Rows, buckets_of, filled, unit_of
from testio_mcp.operations.metrics.health import direction_of
from testio_mcp.operations.metrics.periods import Period
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.reading import in_period

Columns = dict[str, int | float | str | None]
_Keys = tuple[Key, ...]


class Comparison(NamedTuple):
    """The groups of both periods: their values in this one, and the columns that compare them."""

    rows: Rows
    columns: Mapping[_Keys, Columns]
    totals: Columns


def compare_with(conn: Connection, question: Question, now: Measured, before: Period) -> Comparison:
    """Compare what was measured with the period before.

    A group that exists on one side only has 0 on the other, or null for rates. Times are compared by their place: the
    first bucket with the first, and so on; a bucket that only the period before has, has its name as its key.
    """
    earlier = in_period(question, before)
    then = measure(conn, earlier)
    rows, old_rows = filled(question, now), filled(earlier, then)
    found: Rows = {}
    columns: dict[_Keys, Columns] = {}
    for key, old_key in _pairs(question, rows, earlier, old_rows):
        if not key and old_key not in then.counts:
            continue
        shown = key or _named(question, old_key)
        nothing = Counts(all_stories=max(side.to_cover(key or old_key) for side in (now, then)))
        old, new = then.counts.get(old_key) or nothing, now.counts.get(key) or nothing
        found[shown] = rows.get(key) or _values(question, new)
        columns[shown] = _bucket(question, old_key) | _columns(
            question, found[shown], old_rows.get(old_key) or _values(question, old), old, new
        )
    return Comparison(found, columns, _columns(question, now.total, then.total, then.total_counts, now.total_counts))


def _columns(
    question: Question, values: Mapping[str, Value], old: Mapping[str, Value], before: Counts, after: Counts
) -> Columns:
    """Beside each metric its value before, the change, and what that means."""
    found: Columns = {}
    for name in question.metrics:
        value, earlier = values[name], old[name]
        found[f"{name}_before"] = earlier
        found[f"{name}_change"] = None if value is None or earlier is None else round(value - earlier, 4)
        found[f"{name}_verdict"] = direction_of(name, before, after)
    return found


def _values(question: Question, counts: Counts) -> dict[str, Value]:
    return {name: metric(name).value(counts) for name in question.metrics}


def _pairs(question: Question, rows: Rows, earlier: Question, old_rows: Rows) -> Iterable[tuple[_Keys, _Keys]]:
    """The keys of this period with those of the one before; an empty key where a bucket has no counterpart."""
    if question.unit is None:
        return [(key, key) for key in dict.fromkeys((*rows, *old_rows))]
    place = question.by.index(question.unit)
    others = dict.fromkeys((key[:place], key[place + 1 :]) for key in (*rows, *old_rows))
    beside = list(zip_longest(buckets_of(question), buckets_of(earlier)))
    pairs = (
        ((*first, new, *rest) if new else (), (*first, old, *rest) if old else ())
        for first, rest in others
        for new, old in beside
    )
    return [(key, old) for key, old in pairs if key in rows or old in old_rows]


def _named(question: Question, key: _Keys) -> _Keys:
    """The key of a bucket that only the period before has: its name stands for the day."""
    return tuple(
        unit_of(name, value).label if name == question.unit and isinstance(value, date) else value
        for name, value in zip(question.by, key, strict=True)
    )


def _bucket(question: Question, key: _Keys) -> Columns:
    """Which bucket of the period before stands beside a group."""
    if question.unit is None:
        return {}
    day = key[question.by.index(question.unit)] if key else None
    return {f"{question.unit}_before": unit_of(question.unit, day).label if isinstance(day, date) else None}
