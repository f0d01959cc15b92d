"""The tests behind a group."""

from dataclasses import replace
from datetime import date
from typing import cast

from sqlalchemy import Connection

from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.engine import Key, tests_of
from testio_mcp.operations.metrics.filling import stretch_of
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.metrics.questions import FilterValue, Question

SHOWN = 10


def newest_tests(conn: Connection, question: Question, key: tuple[Key, ...]) -> list[int]:
    """The ids of a group's newest tests, at most `SHOWN`; none where tests cannot be split like this."""
    filters = dict(question.filters)
    start, end = question.start, question.end
    for name, value in zip(question.by, key, strict=True):
        if name != question.unit:
            filters[name] = _narrowed(filters.get(name, ()), cast(FilterValue, value))
        elif isinstance(value, date):
            stretch = stretch_of(question, value)
            first, last = bounds(Period(stretch.first, stretch.last), question.zone)
            start = max(first, start) if first and start else start or first
            end = min(last, end) if last and end else end or last
        else:
            return []
    group = replace(question, metrics=("test_count",), by=(), filters=tuple(filters.items()), start=start, end=end)
    try:
        group.check()
    except BadInput:
        return []
    return tests_of(conn, group, SHOWN)


def _narrowed(values: tuple[FilterValue, ...], value: FilterValue) -> tuple[FilterValue, ...]:
    """The filter for the group of a value: the value, or those of its versions that the question asks for."""
    versions = tuple(each for each in values if str(each).startswith(f"{value} "))
    return (value,) if value in values or not versions else versions
