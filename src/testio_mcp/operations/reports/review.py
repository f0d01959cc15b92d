"""Sections about decisions: what waits for one, and what was accepted automatically because nobody decided."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, String, bindparam, select, type_coerce

from testio_mcp.database.dialect import fetch_records
from testio_mcp.database.tables import Bug, Test, table_of
from testio_mcp.domain import AWAITING, FAR_FUTURE, auto_accept_at
from testio_mcp.operations import figures
from testio_mcp.operations.lists.filters import any_of
from testio_mcp.operations.metrics.definitions import Value
from testio_mcp.operations.reports.scope import Asked, split_table
from testio_mcp.reports.links import Link
from testio_mcp.reports.model import Column, Figure, Section, Table

_SHOWN = 10
_bug, _test = table_of(Bug).c, table_of(Test).c


@dataclass(frozen=True)
class WaitingBug:
    """An open bug or question, and when it is auto-accepted."""

    id: int
    title: str
    level: str
    status: str
    test_id: int
    due_at: datetime | None


@dataclass(frozen=True)
class Waiting:
    """What waits for a decision in the scope of a report: how much, of it how much is critical, and the bugs.

    `bugs` has critical ones first, then the nearest deadline; it is None where the scope has filters that only the
    metrics know.
    """

    count: int
    link: Link
    critical: int
    critical_link: Link | None
    bugs: list[WaitingBug] | None

    def due_at(self, level: str = "") -> datetime | None:
        """When the first of the bugs, or of those of a level, is auto-accepted."""
        return min((bug.due_at for bug in self.bugs or () if bug.due_at and level in ("", bug.level)), default=None)


@dataclass(frozen=True)
class Losses:
    """Bugs that were auto-accepted: how many, of it how many are severe, and their metrics by severity."""

    count: int
    severe: int
    link: Link
    by_severity: dict[str, dict[str, Value]]
    by_severity_link: Link


def find_waiting(asked: Asked) -> Waiting | None:
    """What waits for a decision; None where the filters leave out all that does."""
    everything: dict[str, tuple[str, ...]] = {"bug_status": AWAITING}
    critical = {**everything, "severity": ("critical",)}
    if not asked.can("bug_count", only=everything):
        return None
    has_critical = asked.can("bug_count", only=critical)
    return Waiting(
        count=asked.count(asked.metrics("bug_count", only=everything)),
        link=asked.queue(**everything),
        critical=asked.count(asked.metrics("bug_count", only=critical)) if has_critical else 0,
        critical_link=asked.queue(**critical) if has_critical else None,
        bugs=_waiting_bugs(asked),
    )


def _waiting_bugs(asked: Asked) -> list[WaitingBug] | None:
    scope = asked.scope
    if scope.time == "report" or any(name != "product" for name, _ in scope.filters):
        return None
    values: dict[str, Any] = {
        "products": [key for key in scope.values_of("product") or () if key is not None],
        "tests": list(scope.test_ids),
        "others": list(scope.exclude_test_ids),
        "start": scope.start,
        # A test without an end is in no period that has a bound.
        "end": scope.end or (FAR_FUTURE if scope.start else None),
    }
    found = [
        WaitingBug(
            row["id"],
            row["title"],
            row["level"],
            row["status"],
            row["test_id"],
            auto_accept_at(figures.read_timestamp(row["end_at"]), [row["status"]], asked.settings.auto_accept_days),
        )
        for row in _rows(asked.conn, {name: value for name, value in values.items() if value})
    ]
    return sorted(found, key=lambda bug: (figures.rank(bug.level), bug.due_at is None, str(bug.due_at), bug.id))


def _rows(conn: Connection, given: dict[str, Any]) -> list[dict[str, Any]]:
    return fetch_records(conn, _statement(frozenset(given)), given | {"statuses": list(AWAITING)})


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


def review(asked: Asked, waiting: Waiting | None) -> Section:
    """What waits for a decision, how soon, and how people decide."""
    text = f"An open bug is auto-accepted {asked.settings.auto_accept_days} days after the end of its test."
    if waiting and (due := waiting.due_at()):
        zone = asked.settings.zone
        text += f" The next one is due on {due.astimezone(zone):%Y-%m-%d %H:%M} ({zone})."
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
                value=asked.count(asked.metrics("bug_count", only={"bug_status": (status,)})),
                definition=definition,
                link=asked.bugs(bug_status=(status,)),
            )
            for status, (label, definition) in _COUNTED.items()
            if asked.can("bug_count", only={"bug_status": (status,)})
        ],
        tables=[each for each in (_waiting_table(waiting), types) if each and each.rows],
    )


def _waiting_table(waiting: Waiting | None) -> Table | None:
    if waiting is None or not waiting.bugs:
        return None
    left = len(waiting.bugs) - _SHOWN
    return Table(
        title="Waiting for a decision",
        columns=[
            Column(key="id", label="Bug"),
            Column(key="title", label="Title"),
            Column(key="severity", label="Severity"),
            Column(key="status", label="Status"),
            Column(key="test_id", label="Test"),
            Column(key="due_at", label="Auto-accepted on", kind="moment"),
        ],
        rows=[
            [bug.id, bug.title, bug.level, bug.status, bug.test_id, bug.due_at.isoformat() if bug.due_at else None]
            for bug in waiting.bugs[:_SHOWN]
        ],
        note=f"{left} more." if left > 0 else None,
        link=waiting.link,
    )


def find_losses(asked: Asked) -> Losses | None:
    """Bugs that were auto-accepted: paid for, and never looked at; None where there are none."""
    only: dict[str, tuple[str, ...]] = {"bug_status": ("auto_accepted",)}
    if not asked.can("bug_count", "bug_severity_score", only=only):
        return None
    question = asked.metrics("bug_count", "bug_severity_score", by=("severity",), only=only)
    answer = asked.ask(question)
    if not answer.total["bug_count"]:
        return None
    rows = {str(level): row for (level,), row in answer.rows.items()}
    return Losses(
        count=int(answer.total["bug_count"]),
        severe=sum(int(rows[level]["bug_count"] or 0) for level in ("critical", "high") if level in rows),
        link=asked.bugs(**only),
        by_severity=dict(sorted(rows.items(), key=lambda item: figures.rank(item[0]))),
        by_severity_link=question,
    )


def losses(found: Losses | None) -> Section | None:
    """Bugs that were auto-accepted."""
    if found is None:
        return None
    return Section(
        id="auto_acceptance",
        title="Auto-accepted",
        figures=[
            Figure(
                name="auto_accepted_bugs",
                label="Auto-accepted bugs",
                unit="count",
                value=found.count,
                definition="Bugs that nobody decided on in time; they are paid for.",
                link=found.link,
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
                rows=[
                    [level, row["bug_count"], row["bug_severity_score"]] for level, row in found.by_severity.items()
                ],
                link=found.by_severity_link,
            )
        ],
    )
