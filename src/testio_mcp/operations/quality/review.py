"""Sections about decisions: what waits for one, and what the clock decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, String, bindparam, select, type_coerce

from testio_mcp.database.dialect import fetch_records
from testio_mcp.database.tables import Bug, Test, table_of
from testio_mcp.operations import figures
from testio_mcp.operations.listing import any_of
from testio_mcp.operations.quality.asking import Asked, split_table
from testio_mcp.reports.model import Column, Figure, Section, Table

_SHOWN = 10
_bug, _test = table_of(Bug).c, table_of(Test).c


@dataclass(frozen=True)
class Waiting:
    """An open bug or question, and when the clock accepts it."""

    id: int
    title: str
    level: str
    status: str
    test_id: int
    due_at: datetime | None


def waiting(asked: Asked) -> list[Waiting]:
    """The bugs in scope that wait for a decision: critical ones first, then the nearest deadline.

    None where the scope has filters that only the metrics know.
    """
    scope = asked.scope
    if scope.time == "report" or any(name != "product" for name, _ in scope.filters):
        return []
    products = [key for key in scope.values_of("product") or () if key is not None]
    values: dict[str, Any] = {
        "products": products,
        "tests": list(scope.test_ids),
        "others": list(scope.exclude_test_ids),
    }
    values |= {"start": scope.start, "end": scope.end}
    given = {name: value for name, value in values.items() if value}
    rows = _rows(asked.conn, given)
    found = [
        Waiting(
            row["id"],
            row["title"],
            row["level"],
            row["status"],
            row["test_id"],
            figures.auto_accept_at(row["end_at"], [row["status"]], asked.settings.auto_accept_days),
        )
        for row in rows
    ]
    return sorted(found, key=lambda bug: (figures.rank(bug.level), bug.due_at is None, str(bug.due_at), bug.id))


def _rows(conn: Connection, given: dict[str, Any]) -> list[dict[str, Any]]:
    return fetch_records(conn, _statement(frozenset(given)), given | {"statuses": list(figures.AWAITING)})


@lru_cache(maxsize=64)
def _statement(given: frozenset[str]) -> Select[Any]:
    conditions = {
        "products": any_of(_bug.product_id, "products"),
        "tests": any_of(_bug.test_id, "tests"),
        "others": ~any_of(_bug.test_id, "others"),
        "start": _test.sort_at >= bindparam("start", type_=_test.sort_at.type),
        "end": _test.sort_at < bindparam("end", type_=_test.sort_at.type),
    }
    columns = (
        _bug.id,
        _bug.title,
        _bug.level,
        _bug.status,
        _bug.test_id,
        type_coerce(_test.end_at, String).label("end_at"),
    )
    return (
        select(*columns)
        .join_from(table_of(Bug), table_of(Test), _bug.test_id == _test.id)
        .where(
            any_of(_bug.status, "statuses"),
            _bug.gone_at.is_(None),
            _test.gone_at.is_(None),
            figures.RAN,
            *(condition for name, condition in conditions.items() if name in given),
        )
    )


_COUNTED = {
    "open": ("Open bugs", "Bugs that nobody has decided on (status open)."),
    "question": ("Questions", "Bugs about which the customer asked something."),
}


def review(asked: Asked, bugs: Sequence[Waiting]) -> Section:
    """What waits for a decision, how soon, and how people decide."""
    counted = asked.measure("bug_count", by=("bug_status",)).rows
    text = f"The clock accepts an open bug {asked.settings.auto_accept_days} days after the end of its test."
    if due := [bug.due_at for bug in bugs if bug.due_at]:
        text += f" The next one is due on {min(due):%Y-%m-%d %H:%M} UTC."
    names = ("bug_count", "review_rate", "auto_acceptance_rate")
    types = split_table(asked, "Decisions by test type", "testing_type", names)
    return Section(
        id="review",
        title="Review",
        text=text,
        figures=[
            Figure(
                name=f"{status}_bugs",
                label=label,
                unit="count",
                value=counted.get((status,), {}).get("bug_count", 0),
                definition=definition,
                query=asked.bugs(statuses=status),
            )
            for status, (label, definition) in _COUNTED.items()
        ],
        tables=[each for each in (_table(asked, bugs), types) if each and each.rows],
    )


def _table(asked: Asked, bugs: Sequence[Waiting]) -> Table:
    return Table(
        title="Waiting for a decision",
        columns=[
            Column(key="id", label="Bug"),
            Column(key="title", label="Title"),
            Column(key="severity", label="Severity"),
            Column(key="status", label="Status"),
            Column(key="test_id", label="Test"),
            Column(key="due_at", label="Accepted by the clock", kind="moment"),
        ],
        rows=[
            [bug.id, bug.title, bug.level, bug.status, bug.test_id, bug.due_at.isoformat() if bug.due_at else None]
            for bug in bugs[:_SHOWN]
        ],
        note=f"{len(bugs) - _SHOWN} more." if len(bugs) > _SHOWN else None,
        query=asked.queue(),
    )


def losses(asked: Asked) -> Section | None:
    """Bugs that the clock accepted: paid for, and never looked at."""
    rows = asked.measure("bug_count", "bug_severity_score", by=("severity", "bug_status")).rows
    lost = {level: values for (level, status), values in rows.items() if status == "auto_accepted"}
    if not lost:
        return None
    order = sorted(lost, key=lambda level: figures.rank(str(level)))
    number = sum(values["bug_count"] or 0 for values in lost.values())
    return Section(
        id="auto_acceptance",
        title="Accepted by the clock",
        figures=[
            Figure(
                name="auto_accepted_bugs",
                label="Bugs accepted by the clock",
                unit="count",
                value=number,
                definition="Bugs that nobody decided on in time; they are paid for.",
                query=asked.bugs(statuses="auto_accepted"),
            )
        ],
        tables=[
            Table(
                title="By severity",
                columns=[
                    Column(key="severity", label="Severity"),
                    Column(key="bug_count", label="Bugs", kind="count"),
                    Column(key="bug_severity_score", label="Severity score", kind="count"),
                ],
                rows=[[str(level), lost[level]["bug_count"], lost[level]["bug_severity_score"]] for level in order],
                query=asked.bugs(statuses="auto_accepted"),
            )
        ],
    )
