"""The tests behind a group."""

from dataclasses import replace
from datetime import date
from typing import cast

from sqlalchemy import Connection

from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.engine import Key, tests_of
from testio_mcp.operations.metrics.filling import unit_of
from testio_mcp.operations.metrics.questions import FilterValue, Question
from testio_mcp.operations.periods import Period, bounds

SHOWN = 10


def newest_tests(conn: Connection, question: Question, key: tuple[Key, ...]) -> list[int]:
    """The ids of a group's newest tests, at most `SHOWN`; none where tests cannot be split like this."""
    filters = dict(question.filters)
    start, end = question.start, question.end
    for name, value in zip(question.by, key, strict=True):
        if name != question.unit:
            filters[name] = (cast(FilterValue, value),)
        elif isinstance(value, date):
            bucket = unit_of(name, value)
            first, last = bounds(Period(bucket.first, bucket.last), question.zone)
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
